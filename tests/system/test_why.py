"""`app why`: the journey of the last start that went well, and beside it the last thing that went wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kit import procfs
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until

COMMAND = ["sh", "-c", "echo hello; exec python life.py"]
STEPS = ["asked", "spawned", "exec", "first output", "listening", "ours", "ready"]


def why(run: PorticoRun) -> Any:
    return json.loads(run.app("why", "shop", "--json").out)


def names(told: Any) -> list[str]:
    return [step["name"] for step in (told["last_start"] or {"steps": []})["steps"]]


def test_a_good_start_is_told_step_by_step_until_something_fails(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=COMMAND)) as run:
        assert why(run)["last_start"] is None
        assert why(run)["now"] == "does not run; the next request starts it"
        pid = int(run.get("/").json()["pid"])
        # The first output is the plugin's to tell, a moment later; whether it or the exec was seen first is chance.
        wait_until(lambda: sorted(names(why(run))) == sorted(STEPS), "all steps")
        told = why(run)
        assert (told["at"], told["last_start"]["pid"], told["now"]) == (0.0, pid, "")
        assert [name for name in names(told) if name not in ("exec", "first output")] == [
            name for name in STEPS if name not in ("exec", "first output")
        ]
        times = [step["after"] for step in told["last_start"]["steps"]]
        assert times == sorted(times)
        said = run.app("why", "shop").out
        assert all(name in said for name in [*STEPS, "went well"])

        procfs.kill(pid)
        wait_for_end(pid)
        wait_until(lambda: why(run)["exit"] == "killed by SIGKILL", "the crash")
        assert why(run)["last_start"] is None

        again = int(run.get("/").json()["pid"])
        told = why(run)
        assert (told["exit"], told["last_start"]["pid"]) == ("killed by SIGKILL", again)


def test_what_keeps_an_app_down_is_told_first(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command="false")) as run:
        assert run.app("stop", "shop").status == 0
        assert run.app("why", "shop").out.startswith(
            "shop: stopped by an administrator; `app start shop` lifts it"
        )
        page = folder / "apps" / "app_offline.htm"
        page.touch()
        cure = f"offline: remove app_offline.htm from {page.parent}"
        wait_until(lambda: why(run)["now"] == cure, "the file is seen")
        assert f"shop: {cure}" in run.app("status").out
        assert run.app("start", "shop").said.splitlines()[-1] == f"shop: {cure}"
        page.unlink()
        wait_until(lambda: why(run)["now"] != cure, "the file is gone")
        assert run.app("offline", "shop").status == 0
        assert why(run)["now"] == "offline: `app online shop` brings it back"
