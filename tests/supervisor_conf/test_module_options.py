"""The options of the shipped modules: how they are read, and the sentence for each that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor_conf.module_table import SHIPPED
from supervisor_conf.settings import InvalidSettings, load_settings

APP = '\n[apps.shop]\ncommand = "x"\n'

# module, option, what is written, phrase of the sentence
WRONG = [
    ("filtering", "allow", '["ten"]', 'read "ten"; expected a list of networks, and "unix"'),
    ("filtering", "allow", '"10.0.0.0/8"', "a list of networks"),
    (
        "filtering",
        "rate",
        '"10/d"',
        'read "10/d"; expected requests a second as a number, or a string such as "10/s"',
    ),
    ("filtering", "rate", "-1", "requests a second"),
    ("filtering", "rate", "true", "requests a second"),
    ("filtering", "burst", "0", "a whole number from 1 to"),
    ("filtering", "rate_clients", "1", "a whole number from 8 to"),
    ("filtering", "methods", '["get"]', "expected GET, since methods are case-sensitive"),
    ("filtering", "hidden_segments", '["a/b"]', 'read "a/b"; expected a list of names between slashes'),
    ("filtering", "hidden_segments", '["*"]', "a list of names between slashes"),
    ("filtering", "denied_extensions", '["php"]', 'read "php"; expected a list of extensions with their dot'),
    ("filtering", "max_fields", '{ "a b" = 5 }', 'read "a b"; expected the name of a header field'),
    ("filtering", "max_fields", "{ Cookie = 0 }", "read 0; expected a size from 1 to 16 MiB for Cookie"),
    ("filtering", "max_fields", "5", "a table of sizes by the name of the header field"),
    ("filtering", "max_body", '"much"', "a size from 0 to"),
    ("filtering", "hiden_segments", "[]", "a known key, perhaps hidden_segments"),
    ("offline", "file", '""', "a path"),
    ("offline", "retry_after", "0", "a duration from 1 to"),
    ("offline", "allow", '["ten"]', "a list of networks"),
    ("request_id", "header", '"X Y"', 'read "X Y"; expected the name of a header field'),
    ("request_id", "trust", '"maybe"', "true or false"),
    ("static", "folder", '""', "a path"),
    ("static", "path", '"static"', "an absolute path of a URL"),
    ("static", "index", '"a/b"', 'read "a/b"; expected the name of a file without its folder'),
    ("static", "types", '{ txt = "text/plain" }', 'read "txt"; expected an extension with its dot'),
    ("static", "types", '{ ".txt" = "text" }', 'read "text"; expected a media type for .txt'),
    ("static", "types", '{ ".txt" = "a/b\\r\\nX: y" }', "a media type for .txt"),
    ("static", "charset", '"utf 8"', "the name of a character set"),
    ("static", "cache_control", '"a\\nb"', "a string on one line"),
    ("headers", "response", "{ change = {} }", 'read "change"; expected set, add or remove'),
    ("headers", "response.set", '["X"]', 'read ["X"]; expected a table of strings'),
    (
        "headers",
        "response.set",
        "{ X = 5 }",
        "read 5; expected a string without line breaks and outer blanks for X",
    ),
    ("headers", "response.set", '{ X = "a\\r\\nb" }', "a string without line breaks"),
    ("headers", "response.set", '{ X = " a" }', "a string without line breaks and outer blanks"),
    ("headers", "response.set", '{ "X Y" = "a" }', 'read "X Y"; expected the name of a header field'),
    ("headers", "request.remove", '"X"', 'read "X"; expected a list of names of fields'),
]


@pytest.mark.parametrize(("use", "option", "written", "phrase"), WRONG)
def test_wrong_options(tmp_path: Path, use: str, option: str, written: str, phrase: str) -> None:
    file = tmp_path / "portico.toml"
    required = {"static": "folder", "offline": "file"}.get(use, option)
    needed = "" if required == option else f'{required} = "x"\n'
    file.write_text(
        f'[front]\nworkers = 1\n[[front.modules]]\nuse = "{use}"\n{option} = {written}\n{needed}{APP}'
    )
    with pytest.raises(InvalidSettings) as caught:
        load_settings(file, {})
    (error,) = caught.value.errors
    assert error.key == f"front.modules.0.{option.partition('.')[0]}"
    assert error.line == 5
    assert phrase in error.sentence
    assert "\n" not in error.sentence


def test_a_table_of_its_own_has_its_line_too(tmp_path: Path) -> None:
    file = tmp_path / "portico.toml"
    file.write_text(
        '[[front.modules]]\nuse = "headers"\n[[front.modules]]\nuse = "headers"\n'
        f"[front.modules.response]\nset = 5{APP}"
    )
    with pytest.raises(InvalidSettings) as caught:
        load_settings(file, {})
    (error,) = caught.value.errors
    assert (error.key, error.line) == ("front.modules.1.response", 5)


def options_of(folder: Path, use: str, lines: str = "") -> dict[str, Any]:
    file = folder / "portico.toml"
    file.write_text(f'[[front.modules]]\nuse = "{use}"\n{lines}{APP}')
    return load_settings(file, {"NAME": "x"}).front.modules[0].values()


def test_values(tmp_path: Path) -> None:
    values = options_of(
        tmp_path,
        "filtering",
        'allow = ["10.1.2.3/8", "unix"]\nrate = "30/m"\nmax_body = "1KiB"\nmax_fields = { Cookie = "4KiB" }\n',
    )
    assert values["allow"] == ["10.0.0.0/8", "unix"]
    assert values["rate"] == 0.5
    assert values["max_body"] == 1024
    assert values["max_fields"] == {"Cookie": 4096}
    assert options_of(tmp_path, "filtering", 'rate = "5/h"')["rate"] == 5 / 3600
    assert options_of(tmp_path, "filtering", "rate = 7")["rate"] == 7


def test_rules_keep_their_order_and_expand(tmp_path: Path) -> None:
    values = options_of(tmp_path, "headers", 'response.set = { Z = "${NAME}", A = ["1", "2"] }')
    assert values["response"]["set"] == [["Z", "x"], ["A", "1"], ["A", "2"]]
    assert values["request"] == {}


@pytest.mark.parametrize("use", SHIPPED)
def test_defaults_are_values(use: str) -> None:
    for key in SHIPPED[use]:
        assert key.text.endswith(".")
