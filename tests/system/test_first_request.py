"""A cold app answers its first request: started once, on a fresh port, guarded by a fresh token."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from tests.kit import procfs
from tests.kit.client import Response, Visitor, free_port, get
from tests.kit.configs import app, front
from tests.kit.load import all_at_once
from tests.kit.run import Person, PorticoRun
from tests.kit.until import wait_for_end, wait_until


def ok(results: list[Response | Exception]) -> list[Response]:
    """Every result is an answer with 200."""
    wrong = [result for result in results if not isinstance(result, Response) or result.status != 200]
    assert not wrong, f"{len(wrong)} of {len(results)} failed: {wrong[:3]}"
    return [result for result in results if isinstance(result, Response)]


def test_the_first_request_starts_the_app(folder: Path, person: Person) -> None:
    with PorticoRun(folder, front() + app(), person=person) as run:
        assert run.pid_of("shop") == 0
        facts = run.get("/facts").json()
        assert run.pid_of("shop") == facts["pid"]
        assert facts["directory"] == str(folder / "apps")


def test_three_hundred_visitors_of_a_cold_app_are_one_spawn(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        answers = ok(all_at_once([lambda: get(run.url, "/")] * 300))
        assert len({answer.body for answer in answers}) == 1
        assert len(list((folder / "logs" / "shop").iterdir())) == 1


def test_ten_cold_apps_asked_at_once_get_ten_ports(folder: Path) -> None:
    apps = [app(f"app{number}", path=f"/app{number}") for number in range(10)]
    with PorticoRun(folder, front() + "".join(apps)) as run:
        targets = [f"/app{number}/facts" for number in range(10)]
        answers = ok(all_at_once([partial(get, run.url, target) for target in targets]))
        facts = [answer.json() for answer in answers]
        assert len({fact["environment"]["PORT"] for fact in facts}) == 10
        assert len({run.token_of(fact["pid"]) for fact in facts}) == 10
        assert [fact["script_name"] for fact in facts] == [f"/app{number}" for number in range(10)]


def test_every_start_has_another_port_and_another_token(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        ports, tokens = set(), set()
        for _ in range(4):
            facts = run.get("/facts").json()
            ports.add(facts["environment"]["PORT"])
            tokens.add(run.token_of(facts["pid"]))
            procfs.kill(facts["pid"])
            wait_for_end(facts["pid"])
        assert "" not in tokens
        assert len(ports) == 4
        assert len(tokens) == 4


def test_a_configured_port_is_kept(folder: Path) -> None:
    port = free_port()
    with PorticoRun(folder, front() + app(port=port)) as run:
        for _ in range(2):
            facts = run.get("/facts").json()
            assert facts["environment"]["PORT"] == str(port)
            procfs.kill(facts["pid"])
            wait_for_end(facts["pid"])


def test_straight_to_the_port_only_the_token_is_let_in(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        facts = run.get("/facts").json()
        straight = f"http://127.0.0.1:{facts['environment']['PORT']}"
        token = run.token_of(facts["pid"])
        for headers in ([], [("MS-ASPNETCORE-TOKEN", "wrong")], [("MS-ASPNETCORE-TOKEN", token[:-1])]):
            refused = get(straight, "/facts", headers)
            assert (refused.status, refused.body) == (400, b"")
        assert get(straight, "/facts", [("MS-ASPNETCORE-TOKEN", token)]).status == 200


def test_what_the_app_sees(folder: Path) -> None:
    config = front() + app(path="/store", environment={"GREETING": "good $$ day"})
    with PorticoRun(folder, config) as run:
        sent = [
            ("MS-ASPNETCORE-TOKEN", "of the visitor"),
            ("Ms_AspNetCore_Token", "of the visitor"),
            ("X-Forwarded-For", "9.9.9.9"),
            ("X-Forwarded-Host", "evil.example"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "by hop"),
            ("Host", "shop.example"),
        ]
        facts = run.get("/store/facts?x=1", sent).json()
        environment = facts["environment"]
        headers = dict(facts["headers"])
        assert environment["ASPNETCORE_APPL_PATH"] == "/store"
        assert environment["HOST"] == "127.0.0.1"
        assert environment["PORT"] == environment["ASPNETCORE_PORT"] == environment["HTTP_PLATFORM_PORT"]
        assert environment["PORTICO_PID"] == str(facts["pid"])
        assert environment["GREETING"] == "good $ day"
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-host"] == "shop.example"
        assert headers["x-forwarded-proto"] == "http"
        assert headers["host"] == "shop.example"
        assert headers["x-request-id"]
        assert not [name for name in headers if "aspnetcore" in name.lower() or name == "x-hop"]
        assert len(facts["headers"]) == len(headers)


def test_the_token_is_nowhere_to_be_read(folder: Path) -> None:
    """No file, no log, no argv, no page, no answer of supervisorctl, not the terminal."""
    config = front() + app() + app("broken", "python broken.py", path="/broken")
    with PorticoRun(folder, config) as run:
        facts = run.get("/facts").json()
        tokens = {run.token_of(facts["pid"])}
        straight = f"http://127.0.0.1:{facts['environment']['PORT']}"
        seen = [
            run.get("/broken").body,
            run.get("/facts").body,
            run.get("/error").body,
            get(straight, "/", [("MS-ASPNETCORE-TOKEN", "no")]).body,
        ]
        procfs.kill(facts["pid"])
        wait_for_end(facts["pid"])
        tokens.add(run.token_of(run.get("/facts").json()["pid"]))
        words = (["status"], ["tail", "shop"], ["maintail"], ["avail"], ["pid", "shop"])
        seen += [run.supervisorctl(*word).said.encode() for word in words]
        orders = (["status"], ["status", "--json"], ["why", "shop"], ["why", "broken"])
        seen += [run.app(*order).said.encode() for order in orders]
        seen += [run.command("render").said.encode(), run.command("status", "--json").said.encode()]
        seen += [path.read_bytes() for path in run.files()]
        seen += [process.command.encode() for process in procfs.processes()]
        run.process.terminate()
        assert run.wait_for_exit() == 0
        seen += [path.read_bytes() for path in run.files()]
        seen += [run.output.encode()]
    assert len(tokens) == 2
    assert "" not in tokens
    for token in tokens:
        assert not [text for text in seen if token.encode() in text]


def test_stdout_and_stderr_go_to_one_file_a_start(folder: Path) -> None:
    talker = ["python", "-u", "talker.py"]
    (folder / "apps" / "talker.py").write_text(
        "import sys, os, uvicorn, probe\n"
        "os.write(1, b'caf\\xc3\\xa9 \\xff\\r\\n')\n"
        "os.write(2, b'and stderr\\n')\n"
        "uvicorn.run(probe.asgi, log_level='warning')\n"
    )
    with PorticoRun(folder, front() + app(command=talker)) as run:
        pids = []
        for _ in range(2):
            pids.append(run.get("/facts").json()["pid"])
            procfs.kill(pids[-1])
            wait_for_end(pids[-1])
    files = {path.name: path.read_bytes() for path in (folder / "logs" / "shop").iterdir()}
    assert len(files) == 2
    for pid in pids:
        name = next(name for name in files if name.endswith(f"_{pid}.log"))
        assert re.fullmatch(r"stdout_\d{8,}\w*_\d+\.log", name)
        assert files[name].startswith(b"caf\xc3\xa9 \xff\r\nand stderr\n")


def test_a_log_that_cannot_be_created_is_a_warning(folder: Path) -> None:
    (folder / "logs").write_text("a file where the folder of logs should be\n")
    with PorticoRun(folder, front() + app()) as run:
        assert run.get("/").status == 200
        assert "log" in run.output + (folder / "run" / "portico.log").read_text()


def test_an_eager_app_starts_by_itself(folder: Path) -> None:
    with PorticoRun(folder, front() + app(start="eager")) as run:
        pid = wait_until(lambda: run.pid_of("shop"), "the eager app in supervisorctl status")
        assert run.get("/facts").json()["pid"] == pid


def test_a_message_is_streamed_both_ways(folder: Path) -> None:
    """Ten megabytes go through whole; the first piece of a slow answer comes before its last is made."""
    with PorticoRun(folder, front() + app()) as run, Visitor(run.url) as visitor:
        body = os.urandom(10_000_000)
        assert visitor.request("POST", "/echo", body=body).body == body
        visitor.send("GET", "/sse")
        assert visitor.head().header("content-type") == "text/event-stream"
        assert next(visitor.chunks()) == b"data: tick\n\n"


def test_every_method_passes(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run, Visitor(run.url) as visitor:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"):
            assert visitor.request(method, "/").status == 200
