from __future__ import annotations

from pathlib import Path

import pytest

from proxy.modules.offline import LOOK_EVERY, UNREADABLE, Offline
from proxy.pipeline import BadModule
from tests.kit.memory_front import MemoryFront
from tests.kit.shipped import module_of
from tests.kit.strangers import as_a_stranger, letter
from tests.proxy.modules.test_filtering import ask_from, request
from tests.proxy.modules.test_static import body, field
from tests.proxy.test_pipeline import ask, front_with, status


class Context:
    """A worker's, with a clock that the test moves and without threads; counts the looks."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.looks = 0
        self.events: list[str] = []
        self.log = self

    def now(self) -> float:
        return self.seconds

    def in_thread(self, function, *arguments):  # type: ignore[no-untyped-def]
        self.looks += 1
        return function(*arguments)

    def info(self, event: str) -> None:
        self.events.append(event)


def offline(folder: Path, **options: object) -> tuple[Offline, Context]:
    context = Context()
    values = {"file": str(folder / "offline.html"), "allow": [], "retry_after": 120.0, "type": "text/html"}
    return Offline(values | options, context), context  # type: ignore[arg-type]


def statuses(front: MemoryFront, count: int) -> list[int]:
    return [status(ask(front, request())[1]) for _ in range(count)]


def test_it_comes_and_goes_and_is_not_looked_for_by_every_request(tmp_path: Path) -> None:
    module, context = offline(tmp_path)
    with front_with(module) as front:
        assert statuses(front, 3) == [200] * 3
        (tmp_path / "offline.html").write_text("<h1>back soon")
        assert statuses(front, 3) == [200] * 3
        assert context.looks == 0
        context.seconds += LOOK_EVERY
        assert statuses(front, 5) == [503] * 5
        assert context.looks == 1
        answer = ask(front, request())[1]
        assert body(answer) == b"<h1>back soon"
        assert field(answer, "retry-after") == "120"
        assert field(answer, "content-type") == "text/html"
        assert field(answer, "cache-control") == "no-store"
        (tmp_path / "offline.html").write_text("<h1>very soon")
        context.seconds += LOOK_EVERY
        assert body(ask(front, request())[1]) == b"<h1>very soon"
        (tmp_path / "offline.html").unlink()
        context.seconds += LOOK_EVERY
        assert statuses(front, 2) == [200] * 2
        assert context.events == ["offline.began", "offline.ended"]
    module.close()


def test_it_is_there_from_the_first_request_on(tmp_path: Path) -> None:
    (tmp_path / "offline.html").write_text("")
    module, _ = offline(tmp_path)
    with front_with(module) as front:
        answer = ask(front, request())[1]
        assert (status(answer), field(answer, "content-length")) == (503, "0")
    module.close()


def test_those_who_work_on_it_get_through(tmp_path: Path) -> None:
    (tmp_path / "offline.html").write_text("soon")
    module, _ = offline(tmp_path, allow=["192.0.2.0/24", "2001:db8::/32"])
    with front_with(module) as front:
        assert ask_from(front, "192.0.2.1", request()) == 200
        assert ask_from(front, "::ffff:192.0.2.1", request()) == 200
        assert ask_from(front, "2001:db8::1", request()) == 200
        assert ask_from(front, "198.51.100.1", request()) == 503
        assert ask_from(front, "", request()) == 503
    module.close()


def test_what_is_there_and_no_file_closes_too(tmp_path: Path) -> None:
    (tmp_path / "offline.html").mkdir()
    module, _ = offline(tmp_path)
    with front_with(module) as front:
        assert body(ask(front, request())[1]) == UNREADABLE
    module.close()


def test_its_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadModule, match="No such file"):
        module_of(tmp_path, "offline", 'file = "nowhere/offline.html"')


def test_what_the_workers_will_not_see_is_doubted(tmp_path: Path) -> None:
    module, _ = offline(tmp_path)
    tmp_path.chmod(0o755)
    with as_a_stranger():
        assert list(module.doubts()) == []
    (tmp_path / "offline.html").write_text("soon")
    (tmp_path / "offline.html").chmod(0)
    with as_a_stranger():
        (doubt,) = module.doubts()
    assert doubt.startswith("visitors will get a page of Portico's: ")
    assert doubt.endswith(f"chmod {letter()}+r {tmp_path}/offline.html")
    tmp_path.chmod(0o600)
    with as_a_stranger():
        (doubt,) = module.doubts()
    assert doubt.startswith(f"whether {tmp_path}/offline.html is there will not be seen: ")
    assert doubt.endswith(f"chmod {letter()}+x {tmp_path}")
    tmp_path.chmod(0o700)
    module.close()


def test_as_it_is_configured(tmp_path: Path) -> None:
    (tmp_path / "offline.html").write_text("soon")
    module = module_of(tmp_path, "offline", 'file = "offline.html"\nretry_after = "2m"\ntype = "text/plain"')
    with front_with(module) as front:
        answer = ask(front, request())[1]
        assert (status(answer), field(answer, "retry-after")) == (503, "120")
        assert field(answer, "content-type") == "text/plain"
    module.close()


def test_what_nobody_can_tell_changes_nothing(tmp_path: Path) -> None:
    """A folder that cannot be entered for a moment, a disk that errs: here a link that leads to itself."""
    file = tmp_path / "offline.html"
    module, context = offline(tmp_path)
    with front_with(module) as front:
        for there in (True, False):
            file.write_text("<h1>back soon") if there else None
            context.seconds += LOOK_EVERY
            assert statuses(front, 1) == [503 if there else 200]
            file.unlink(missing_ok=True)
            file.symlink_to(file)
            context.seconds += LOOK_EVERY
            assert statuses(front, 1) == [503 if there else 200]
            file.unlink()
            context.seconds += LOOK_EVERY
            assert statuses(front, 1) == [200]
    module.close()
