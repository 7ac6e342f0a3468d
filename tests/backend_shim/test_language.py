"""The shim runs in Pythons older than Portico's own, with nothing but their standard library, and stays small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import backend_shim
from tests.backend_shim.backend import free_port

PACKAGE = Path(backend_shim.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Every Python from 3.8 that a developer has beside the one of the tests.
OTHERS = sorted(Path.home().glob(".pyenv/versions/3.[0-9]*/bin/python"))
PYTHONS = [sys.executable, *(str(python) for python in OTHERS if int(python.parts[-3].split(".")[1]) >= 8)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_file_is_python_3_8_and_imports_only_the_standard_library(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            assert top in sys.stdlib_module_names or top in ("backend_shim", "sitecustomize"), name


def test_what_an_app_imports_is_small() -> None:
    lines = sum(len(file.read_text().splitlines()) for file in PACKAGE.glob("*.py"))
    assert lines < 800


EXERCISE = """
import os
from wsgiref.simple_server import make_server, WSGIServer
assert WSGIServer.__init__.__module__ == "backend_shim.autoload.servers"
from backend_shim import integrate
import backend_shim.autoload.servers, threading, http.client

def app(environ, start_response):
    assert not [key for key in environ if "ASPNETCORE_TOKEN" in key and key.startswith("HTTP")]
    start_response("200 OK", [("Content-Length", "2")])
    return [environ["SCRIPT_NAME"][:2].encode()]

server = make_server("127.0.0.1", 1, integrate(app))
assert server.server_port == int(os.environ["ASPNETCORE_PORT"]), server.server_port
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = []
for headers in ({}, {"MS-ASPNETCORE-TOKEN": os.environ["ASPNETCORE_TOKEN"]}):
    client = http.client.HTTPConnection("127.0.0.1", server.server_port)
    client.request("GET", "/shop/x", headers=headers)
    answer = client.getresponse()
    seen.append((answer.status, answer.read()))
assert seen == [(400, b""), (200, b"/s")], seen
server.shutdown()
print("done")
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_on_every_python_there_is(shim: Path, python: str) -> None:
    environ = {
        "PYTHONPATH": str(shim),
        "PYTHONWARNINGS": "error",
        "ASPNETCORE_TOKEN": "a-token",
        "ASPNETCORE_APPL_PATH": "/shop",
        "ASPNETCORE_PORT": str(free_port()),
    }
    done = subprocess.run([python, "-c", EXERCISE], env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
