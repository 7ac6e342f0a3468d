"""What is put on an app's PYTHONPATH: it arms the shim, lets the next sitecustomize run, and never breaks a start."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import backend_shim.autoload
from backend_shim.autoload import hook, install, servers

ARMED = {"ASPNETCORE_TOKEN": "secret-token", "ASPNETCORE_APPL_PATH": "/", "ASPNETCORE_PORT": "9"}
FINDERS = "import sys; print([type(finder).__name__ for finder in sys.meta_path].count('ServerFinder'))"


def python(
    code: str, *path: Path, environ: dict[str, str] | None = None, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    environ = {"PYTHONPATH": os.pathsep.join(map(str, path)), **(environ or {})}
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_names_of_the_hook_are_those_of_the_table() -> None:
    assert set(servers.PATCHES) == hook.HOOKED


def test_arms_in_an_app(shim: Path) -> None:
    assert python(FINDERS, shim, environ=ARMED).stdout == "1\n"


@pytest.mark.parametrize("missing", ARMED)
def test_does_nothing_elsewhere(shim: Path, missing: str) -> None:
    environ = {name: value for name, value in ARMED.items() if name != missing}
    assert python(FINDERS, shim, environ=environ).stdout == "0\n"


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_these_options_cannot_be_guarded(shim: Path, option: str) -> None:
    assert python(FINDERS, shim, options=(option,), environ=ARMED).stdout == "0\n"


def test_imports_nothing_of_weight_before_a_server_is_imported(shim: Path) -> None:
    code = "import sys; print(*sys.modules)"
    without = set(python(code, environ=ARMED).stdout.split())
    with_it = set(python(code, shim, environ=ARMED).stdout.split())
    assert with_it - without <= {
        "__future__",
        "sitecustomize",
        "backend_shim",
        "backend_shim.pairing",
        "backend_shim.autoload",
        "backend_shim.autoload.hook",
    }


def test_a_known_server_is_patched_when_it_is_imported(shim: Path) -> None:
    code = (
        "import sys; assert 'backend_shim.autoload.servers' not in sys.modules\n"
        "import wsgiref.simple_server\n"
        "print(wsgiref.simple_server.WSGIServer.__init__.__module__)"
    )
    assert python(code, shim, environ=ARMED).stdout == "backend_shim.autoload.servers\n"


def test_a_server_that_was_imported_before_us_is_patched_too(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text("import wsgiref.simple_server\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import early, os\n"
        f"sys.path.insert(0, {str(shim)!r})\n"
        f"from backend_shim.autoload.hook import activate; activate(os.environ); activate(os.environ)\n"
        "import wsgiref.simple_server\n"
        "print(wsgiref.simple_server.WSGIServer.__init__.__module__)\n" + FINDERS
    )
    assert python(code, environ=ARMED).stdout == "backend_shim.autoload.servers\n1\n"


def test_the_next_sitecustomize_runs_as_if_it_were_the_only_one(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.path.append('/added')\nWHOSE = 'the user'\n")
    code = (
        "import sys, sitecustomize; print(sitecustomize.WHOSE, sitecustomize.__file__, '/added' in sys.path)\n"
        f"print(sys.path.index({str(shim)!r}) < sys.path.index({str(tmp_path)!r}))\n" + FINDERS
    )
    for environ, armed in ((ARMED, 1), ({}, 0)):
        done = python(code, shim, tmp_path, environ=environ)
        assert done.stdout == f"the user {tmp_path / 'sitecustomize.py'} True\nTrue\n{armed}\n"
        assert done.stderr == ""


def test_an_error_of_the_next_sitecustomize_is_told_as_python_tells_it(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('the user')\n")
    alone = python("print('up')", tmp_path, environ=ARMED)
    after_ours = python("print('up')", shim, tmp_path, environ=ARMED)
    assert after_ours.stdout == alone.stdout == "up\n"
    assert after_ours.stderr == alone.stderr
    assert "RuntimeError: the user" in alone.stderr


def test_a_missing_import_of_the_next_sitecustomize_is_told_too(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import nowhere_at_all\n")
    assert python("", shim, tmp_path).stderr == python("", tmp_path).stderr != ""


def test_a_broken_shim_is_one_line_and_the_interpreter_starts(tmp_path: Path) -> None:
    broken = install(tmp_path / "shim")
    (broken / "backend_shim" / "pairing.py").write_text("syntax error\n")
    done = python("print('up')", broken, environ=ARMED)
    assert done.stdout == "up\n"
    assert done.stderr.startswith("portico: the shim is not armed: SyntaxError: ")
    assert done.stderr.count("\n") == 1


def test_a_server_of_an_unknown_kind_still_starts_and_one_line_says_so(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "waitress").mkdir()
    (tmp_path / "waitress" / "__init__.py").write_text("")
    (tmp_path / "waitress" / "server.py").write_text("VERSION = 99\n")
    done = python("import waitress.server; print(waitress.server.VERSION)", shim, tmp_path, environ=ARMED)
    assert done.stdout == "99\n"
    assert done.stderr.startswith("portico: waitress.server cannot be bound and guarded: AttributeError: ")
    assert done.stderr.count("\n") == 1
    assert "secret-token" not in done.stderr


def test_a_server_that_is_not_installed_is_missing_as_ever(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "waitress").mkdir()
    (tmp_path / "waitress" / "__init__.py").write_text("")
    code = "try:\n    import waitress.server\nexcept ModuleNotFoundError as error:\n    print(error.name)"
    assert python(code, shim, tmp_path, environ=ARMED).stdout == "waitress.server\n"


def test_everything_installed_may_be_read_by_all(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        target = install(tmp_path / "run" / "shim")
    finally:
        os.umask(old)
    assert target == tmp_path / "run" / "shim"
    assert (target / "sitecustomize.py").read_text() == (
        target / "backend_shim" / "autoload" / "sitecustomize.py"
    ).read_text()
    for file in (target, *target.rglob("*")):
        mode = stat.S_IMODE(file.stat().st_mode)
        assert mode == (0o755 if file.is_dir() else 0o644), file


def test_installing_again_replaces_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    target = install(tmp_path / "shim")
    (target / "sitecustomize.py").write_text("old\n")
    (target / "theirs.txt").write_text("theirs\n")
    assert install(tmp_path / "shim") == target
    assert (target / "sitecustomize.py").read_text() != "old\n"
    assert (target / "theirs.txt").read_text() == "theirs\n"
    assert not list(target.rglob("*.new"))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        install(tmp_path / "file" / "shim")


def test_installing_twice_in_one_process(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert backend_shim.autoload.install(tmp_path / name) == tmp_path / name


def test_a_server_inside_an_archive(shim: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("waitress/__init__.py", "from waitress.server import create_server\n")
        archive.writestr(
            "waitress/server.py", "import waitress.other\ndef create_server(application): return 1\n"
        )
        archive.writestr("waitress/other.py", "")
    code = "import waitress, waitress.other; print(waitress.create_server.__code__.co_filename)"
    done = python(code, shim, tmp_path / "app.zip", environ=ARMED)
    assert done.stdout == f"{shim}/backend_shim/autoload/servers.py\n"
    assert done.stderr == ""
