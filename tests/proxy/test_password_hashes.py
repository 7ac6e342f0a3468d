"""Passwords against hashes that the tools of others have made, and htpasswd files with what may be wrong in them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.modules.htpasswd import LOOK_EVERY, BadFile, Htpasswd, parse, parse_groups
from proxy.modules.password_hashes import LONGEST_BCRYPT, Unsupported, belongs, check_supported
from tests.kit.strangers import as_a_stranger


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def htpasswd(*options: str, password: str = "sécret: 1") -> str:
    """The hash that Apache's own tool makes."""
    return run("htpasswd", "-nb", *options, "ann", password).partition(":")[2]


PASSWORD = "sécret: 1"
MADE = {
    "htpasswd -B": lambda: htpasswd("-B"),
    "htpasswd -B -C 8": lambda: htpasswd("-B", "-C", "8"),
    "htpasswd -2": lambda: htpasswd("-2"),
    "htpasswd -5": lambda: htpasswd("-5"),
    "htpasswd -5 -r 10000": lambda: htpasswd("-5", "-r", "10000"),
    "openssl -6": lambda: run("openssl", "passwd", "-6", PASSWORD),
    "openssl -5": lambda: run("openssl", "passwd", "-5", PASSWORD),
}


@pytest.mark.parametrize("tool", MADE)
def test_a_hash_that_another_tool_has_made(tool: str) -> None:
    stored = MADE[tool]()
    check_supported(stored)
    assert belongs(PASSWORD.encode(), stored)
    for other in (b"", b"secret: 1", PASSWORD.encode() + b"x", PASSWORD.encode() + b"\0"):
        assert not belongs(other, stored)


def test_the_spellings_of_bcrypt_are_one() -> None:
    stored = htpasswd("-B")
    assert stored.startswith("$2y$")
    for version in ("$2a$", "$2b$", "$2y$"):
        assert belongs(PASSWORD.encode(), version + stored[4:])


def test_a_long_password_is_cut_off_where_htpasswd_cuts_it_off() -> None:
    stored = htpasswd("-B", password="p" * 80)
    assert belongs(b"p" * 80, stored)
    assert belongs(b"p" * LONGEST_BCRYPT, stored)
    assert not belongs(b"p" * (LONGEST_BCRYPT - 1), stored)


REFUSED = {
    "MD5": (lambda: htpasswd("-m"), "an MD5 hash"),
    "MD5 of openssl": (lambda: run("openssl", "passwd", "-1", PASSWORD), "an MD5 hash"),
    "SHA-1": (lambda: htpasswd("-s"), "a SHA-1 hash without salt"),
    "DES": (lambda: htpasswd("-d", password="short"), "a DES hash or a password in plain text"),
    "plain": (lambda: "open sesame", "a password in plain text"),
    "nothing": (lambda: "", "a password in plain text, or half a hash"),
    "yescrypt": (lambda: "$y$j9T$abc$def", "a hash Portico cannot check"),
    "argon2": (lambda: "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aaaa", "a hash Portico cannot check"),
    "half a bcrypt": (lambda: "$2y$05$abc", "a hash Portico cannot check"),
    "a bcrypt of a week": (lambda: "$2y$31$" + "a" * 53, "a hash Portico cannot check"),
    "half a SHA-512": (lambda: "$6$salt$abc", "a hash Portico cannot check"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_says_why_and_never_what_stands_there(kind: str) -> None:
    make, sentence = REFUSED[kind]
    stored = make()
    with pytest.raises(Unsupported) as caught:
        check_supported(stored)
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith("set the password anew with htpasswd -B (bcrypt)")
    assert not stored or stored not in str(caught.value)


@given(st.text(max_size=120))
def test_any_text_is_a_hash_or_refused(text: str) -> None:
    try:
        check_supported(text)
    except Unsupported:
        return
    assert not belongs(b"x", text)


# ------------------------------------------------------------------------------------------------------------
# Files

HASH = "$2y$04$" + "a" * 53


def test_a_file_with_comments_blank_lines_and_more_colons() -> None:
    assert parse(f"# people\n\nann:{HASH}\r\nbob:{HASH}:Bob, 2nd floor\n", "f") == {"ann": HASH, "bob": HASH}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"ann:{HASH}\nbob\n", "f, line 2: no line of the form name:hash"),
        (f":{HASH}\n", "f, line 1: no line of the form name:hash"),
        (f" ann:{HASH}\n", "f, line 1: no line of the form name:hash"),
        (f"a\x07n:{HASH}\n", "f, line 1: no line of the form name:hash"),
        (f"#\nann:{HASH}\nann:{HASH}\n", "f, line 3: ann stands in line 2 already"),
        ("ann:open sesame\n", "f, line 1: ann has a password in plain text"),
        ("ann:$apr1$abc$def\n", "f, line 1: ann has an MD5 hash"),
    ],
)
def test_an_error_names_its_line(text: str, sentence: str) -> None:
    with pytest.raises(BadFile) as caught:
        parse(text, "f")
    assert str(caught.value).startswith(sentence)
    assert "sesame" not in str(caught.value)


def test_groups() -> None:
    text = "# who is who\n\nstaff: ann bob\nall the others: carl\nstaff: dora ann\nnobody:\n"
    assert parse_groups(text, "f") == {
        "ann": ("staff",),
        "bob": ("staff",),
        "carl": ("all the others",),
        "dora": ("staff",),
    }
    assert parse_groups("a: ann\nb: ann\n", "f") == {"ann": ("a", "b")}
    for wrong in ("staff", ": ann", " staff: ann", "st\x07aff: ann"):
        with pytest.raises(BadFile, match="f, line 1: no line of the form group: name name"):
            parse_groups(wrong, "f")


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **values: Any) -> None:
        self.lines.append((event, values))

    warning = info


def written(path: Path, text: str) -> None:
    """Just now, however long the test takes."""
    path.write_text(text, encoding="utf-8")
    soon = time.time() + 3600
    os.utime(path, (soon, soon))


def looked(file: Htpasswd, now: float) -> set[str]:
    file.refresh(now)
    return set(file.users)


@pytest.mark.parametrize("replaced", [False, True], ids=["written", "renamed"])
def test_a_changed_file_is_taken_over_when_it_has_come_to_rest(tmp_path: Path, replaced: bool) -> None:
    path, log, now = tmp_path / "htpasswd", Log(), 100.0
    written(path, f"ann:{HASH}\n")
    file = Htpasswd(path, now, log)
    assert set(file.users) == {"ann"}
    new = tmp_path / "new" if replaced else path
    written(new, f"ann:{HASH}\nbob:{HASH}\n")
    new.rename(path)
    assert looked(file, now + LOOK_EVERY / 2) == {"ann"}  # nobody looks so often
    assert looked(file, now + LOOK_EVERY) == {"ann"}  # it may be half written
    assert looked(file, now + 2 * LOOK_EVERY) == {"ann", "bob"}
    assert log.lines == [("htpasswd.changed", {"file": str(path), "entries": 2})]
    file.close()


def test_a_change_that_was_made_before_anybody_came_counts_at_once(tmp_path: Path) -> None:
    """Who has been taken out of it does not sign in once more."""
    path, log = tmp_path / "htpasswd", Log()
    written(path, f"ann:{HASH}\nbob:{HASH}\n")
    file = Htpasswd(path, 0.0, log)
    written(path, f"ann:{HASH}\n")
    a_while_ago = time.time() - 2 * LOOK_EVERY
    os.utime(path, (a_while_ago, a_while_ago))
    assert looked(file, LOOK_EVERY) == {"ann"}
    file.close()


def test_a_changed_file_with_an_error_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    path, log, now = tmp_path / "htpasswd", Log(), 100.0
    written(path, f"ann:{HASH}\n")
    file = Htpasswd(path, now, log)
    written(path, "ann:sesame\n")
    for turn in range(1, 6):
        assert looked(file, now + turn * LOOK_EVERY) == {"ann"}
    ((event, values),) = log.lines
    assert event == "htpasswd.refused"
    assert values["reason"].startswith(f"{path}, line 1: ann has ")
    written(path, f"carl:{HASH}\n")
    assert looked(file, now + 6 * LOOK_EVERY) == {"ann"}
    assert looked(file, now + 7 * LOOK_EVERY) == {"carl"}
    file.close()


def test_a_file_that_went_away_stays_as_it_was(tmp_path: Path) -> None:
    path, log = tmp_path / "htpasswd", Log()
    written(path, f"ann:{HASH}\n")
    file = Htpasswd(path, 0.0, log)
    path.unlink()
    assert looked(file, 5.0) == looked(file, 10.0) == {"ann"}
    assert log.lines == []
    file.close()


def test_nobody_waits_for_who_might_write_into_a_fifo(tmp_path: Path) -> None:
    path, log = tmp_path / "htpasswd", Log()
    os.mkfifo(path)
    with pytest.raises(OSError, match="seek"):
        Htpasswd(path, 0.0, log)
    path.unlink()
    written(path, f"ann:{HASH}\n")
    file = Htpasswd(path, 0.0, log)
    path.unlink()
    os.mkfifo(path)
    assert looked(file, 5.0) == looked(file, 10.0) == looked(file, 15.0) == {"ann"}
    assert [event for event, _ in log.lines] == ["htpasswd.refused"]
    file.close()


def test_another_file_that_may_not_be_read_is_told_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "closed", Log()
    folder.mkdir()
    path = folder / "htpasswd"
    written(path, f"ann:{HASH}\n")
    file = Htpasswd(path, 0.0, log)
    folder.chmod(0)
    with as_a_stranger():
        assert looked(file, 5.0) == {"ann"}
        assert log.lines == []  # whatever has the name, it is ours
    folder.chmod(0o700)
    written(folder / "new", f"bob:{HASH}\n")
    (folder / "new").rename(path)
    folder.chmod(0)
    with as_a_stranger():
        assert looked(file, 10.0) == looked(file, 15.0) == {"ann"}
    ((event, values),) = log.lines
    assert event == "htpasswd.refused"
    assert f"{path} is another file now" in values["reason"]
    folder.chmod(0o700)
    file.close()


def test_a_file_that_is_not_utf_8_or_too_large(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_bytes(b"\xff\n")
    with pytest.raises(BadFile, match="is not UTF-8"):
        Htpasswd(path, 0.0, Log())
    with path.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(BadFile, match="is larger than"):
        Htpasswd(path, 0.0, Log())


def test_who_is_not_there_is_checked_against_somebody_and_never_right(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    hashes = [HASH, "$2y$05$" + "b" * 53, "$2y$06$" + "c" * 53]
    written(path, "".join(f"u{n}:{stored}\n" for n, stored in enumerate(hashes)))
    file = Htpasswd(path, 0.0, Log())
    assert [file.hash_to_check(f"u{n}") for n in range(3)] == [(stored, True) for stored in hashes]
    strangers = [file.hash_to_check(f"stranger{n}") for n in range(60)]
    assert not any(known for _, known in strangers)
    assert {stored for stored, _ in strangers} == set(hashes)
    assert strangers == [file.hash_to_check(f"stranger{n}") for n in range(60)]
    written(path, f"only:{hashes[1]}\n")
    for turn in (1, 2):
        file.refresh(turn * LOOK_EVERY)
    assert {file.hash_to_check(f"stranger{n}") for n in range(60)} == {(hashes[1], False)}
    file.close()
    written(path, "")
    file = Htpasswd(path, 0.0, Log())
    assert file.hash_to_check("ann") == ("", False)
    file.close()


def test_a_hash_lets_other_threads_run() -> None:
    """Both libraries give the interpreter away while they work."""
    import threading

    for stored in (htpasswd("-B", "-C", "12"), htpasswd("-5", "-r", "500000")):
        turns, done = 0, threading.Event()

        def check(stored: str = stored, done: threading.Event = done) -> None:
            belongs(b"x", stored)
            done.set()

        thread = threading.Thread(target=check)
        thread.start()
        while not done.is_set():
            turns += 1
            time.sleep(0)
        thread.join()
        assert turns > 1000
