"""How Windows reads command lines, `%NAME%` and paths, against what Microsoft documents and what Python writes."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.launch import _expand_one
from supervisor_conf.setting_errors import Unfit
from supervisor_conf.webconfig_words import (
    PORT_MARK,
    Reading,
    Variables,
    argument,
    as_word,
    expand,
    path_of,
    split,
)

# The table in «Parsing C command-line arguments» of Microsoft's C runtime
DOCUMENTED = [
    (r'"a b c" d e', ["a b c", "d", "e"]),
    (r'"ab\"c" "\\" d', ['ab"c', "\\", "d"]),
    (r'a\\\b d"e f"g h', [r"a\\\b", "de fg", "h"]),
    (r"a\\\"b c d", [r"a\"b", "c", "d"]),
    (r'a\\\\"b c" d e', [r"a\\b c", "d", "e"]),
    (r'a"b"" c d', ['ab" c d']),
]
OTHERS = [
    ("", []),
    (" \t ", []),
    (r".\shop.dll", [r".\shop.dll"]),
    (r".\shop.dll --urls  x", [r".\shop.dll", "--urls", "x"]),
    ('""', [""]),
    ('a "" b', ["a", "", "b"]),
    ('"not closed b', ["not closed b"]),
    ("a\nb", ["a\nb"]),
    ("'a b'", ["'a", "b'"]),
    ("\\", ["\\"]),
    (r'"C:\dir\\" x', ["C:\\dir\\", "x"]),
    ('"a""b"', ['a"b']),
]


@pytest.mark.parametrize(("text", "words"), DOCUMENTED + OTHERS)
def test_a_command_line_is_split_as_windows_does(text: str, words: list[str]) -> None:
    assert split(text) == words


@given(st.lists(st.text(st.sampled_from('ab \t"\\'), max_size=8)))
def test_what_python_quotes_for_windows_is_split_into_the_same_words(words: list[str]) -> None:
    assert split(subprocess.list2cmdline(words)) == words


@given(st.text())
def test_any_text_is_split_and_nothing_but_quotes_spaces_and_backslashes_is_lost(text: str) -> None:
    def rest(text: str) -> str:
        return "".join(char for char in text if char not in '" \t\\')

    assert rest("".join(split(text))) == rest(text)


def test_a_long_run_of_backslashes_is_split_in_time() -> None:
    assert split("\\" * 200_000) == ["\\" * 200_000]
    assert split('\\" ' * 60_000) == ['"'] * 60_000


VARIABLES = Variables({"HOME": "/home/shop", "Name": "value", "EMPTY": "", "WITH": "a %HOME% b"})


@pytest.mark.parametrize(
    ("text", "expanded", "unset"),
    [
        ("%HOME%/x", "/home/shop/x", ()),
        ("%home%", "/home/shop", ()),
        ("%NAME%%name%", "valuevalue", ()),
        ("[%EMPTY%]", "[]", ()),
        ("%WITH%", "a %HOME% b", ()),
        ("%MISSING%", "%MISSING%", ("MISSING",)),
        ("%MISSING% %MISSING%", "%MISSING% %MISSING%", ("MISSING",)),
        ("100% of %HOME%", "100% of /home/shop", ()),
        ("%%", "%%", ()),
        ("100%", "100%", ()),
        ("%", "%", ()),
        ("%HOME", "%HOME", ()),
        ("${HOME} $$ ~", "${HOME} $$ ~", ()),
        ("%HTTP_PLATFORM_PORT%", "%HTTP_PLATFORM_PORT%", ("HTTP_PLATFORM_PORT",)),
    ],
)
def test_variables_expand_as_on_windows(text: str, expanded: str, unset: tuple[str, ...]) -> None:
    found = expand(text, VARIABLES)
    assert (found.text, found.unset) == (expanded, unset)


def test_an_exact_name_goes_before_one_in_another_case() -> None:
    variables = Variables({"path": "lower", "PATH": "upper"})
    assert [variables.get(name) for name in ("path", "PATH")] == ["lower", "upper"]
    assert variables.get("Path") in ("lower", "upper")


@given(st.text(st.characters(exclude_characters="%\0")))
def test_text_without_percent_signs_stays(text: str) -> None:
    assert expand(text, VARIABLES, port=True).text == text


@pytest.mark.parametrize("name", ["HTTP_PLATFORM_PORT", "http_platform_port", "ASPNETCORE_PORT"])
def test_the_port_is_filled_in_at_a_start_whatever_the_environment_has(name: str) -> None:
    found = expand(f"{{%{name}%}}", Variables({name: "1"}), port=True)
    assert found.text == f"{{{PORT_MARK}}}"
    assert as_word(found.text) == "{{{port}}}"


@given(st.text(st.sampled_from("{}a\\\0port")))
def test_a_word_comes_out_of_the_launcher_as_it_went_in(text: str) -> None:
    assert _expand_one(as_word(text), {"port": "5000"}) == text.replace(PORT_MARK, "5000")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (r".\shop.dll", "./shop.dll"),
        (r"bin\serve", "bin/serve"),
        ("dotnet", "dotnet"),
        (r"\\?\/home/shop\LogFiles\stdout", "/home/shop/LogFiles/stdout"),
        (r"..\up", "../up"),
        ("/usr/bin/node", "/usr/bin/node"),
    ],
)
def test_windows_paths_are_read_as_paths(text: str, path: str) -> None:
    assert path_of(text) == path


@pytest.mark.parametrize(
    "text", [r"C:\x", "c:x", "D:/x", r"\\server\share", r"\\?\C:\x", r"\\?\UNC\a\b", "a\nb"]
)
def test_paths_that_this_machine_cannot_have(text: str) -> None:
    with pytest.raises(Unfit):
        path_of(text)


@pytest.mark.parametrize(
    ("word", "read", "reading"),
    [
        (r".\shop.dll", "./shop.dll", Reading.PATH),
        (r"..\conf\x y", "../conf/x y", Reading.PATH),
        (r"--config=.\x.json", "--config=./x.json", Reading.PATH),
        (r"bin\shop.dll", "bin/shop.dll", Reading.GUESSED_PATH),
        (r"DOMAIN\user", r"DOMAIN\user", Reading.AS_WRITTEN),
        (r"\d+", r"\d+", Reading.AS_WRITTEN),
        (r"a\nb", r"a\nb", Reading.AS_WRITTEN),
        ("shop.dll", "shop.dll", Reading.AS_WRITTEN),
        (r"C:\x", r"C:\x", Reading.WINDOWS_ONLY),
        (r"--data=C:\x", r"--data=C:\x", Reading.WINDOWS_ONLY),
        (r"\\server\share", r"\\server\share", Reading.WINDOWS_ONLY),
        (r"--x=/home/shop\a\b", "--x=/home/shop/a/b", Reading.PATH),
    ],
)
def test_words_of_arguments(word: str, read: str, reading: Reading) -> None:
    assert argument(word, ("/home/shop",)) == (read, reading)
