"""XML of a web.config: lines, encodings, what is refused before it is looked at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.webconfig_xml import DEEPEST, LARGEST, LONGEST_NAME, Element, Unreadable, parse

TEXT = "<?xml version='1.0' encoding='{}'?>\n<a\n  x='é'\n  y='{{}} >'\n><b z='1'/></a>"


@pytest.mark.parametrize(
    ("declared", "codec", "mark"),
    [
        ("utf-8", "utf-8", b""),
        ("UTF-8", "utf-8", b"\xef\xbb\xbf"),
        ("iso-8859-1", "latin-1", b""),
        ("windows-1252", "cp1252", b""),
        ("utf-16", "utf-16-le", b"\xff\xfe"),
        ("utf-16", "utf-16-be", b"\xfe\xff"),
        ("utf-16", "utf-16-le", b""),
        ("utf-16", "utf-16-be", b""),
        ("utf-8", "utf-16-le", b"\xff\xfe"),  # as PowerShell writes it
    ],
)
def test_encodings_and_lines(declared: str, codec: str, mark: bytes) -> None:
    root = parse(mark + TEXT.format(declared).encode(codec))
    assert root.get("x") == "é"
    assert [root.place.line, *(one.place.line for one in root.attributes.values())] == [2, 3, 4]
    (child,) = root.children
    assert (child.place.path, child.place.line) == ("a/b", 5)
    assert (child.attributes["z"].place.path, child.attributes["z"].place.line) == ("a/b/@z", 5)


def test_values_over_several_lines() -> None:
    root = parse(b"<a one='1\n2' two=\"x='9'\n\" three='3'/>")
    assert [one.place.line for one in root.attributes.values()] == [1, 2, 3]
    assert root.get("one") == "1 2"
    assert root.get("two") == "x='9' "


@pytest.mark.parametrize(
    ("content", "read", "line"),
    [
        (b"", "no XML (no element found)", 1),
        (b"<a>\n<b></a>", "no XML (mismatched tag)", 2),
        (b"<a/><b/>", "no XML (junk after document element)", 1),
        (b"<a x='1' x='2'/>", "no XML (duplicate attribute)", 1),
        (b"<a>&nbsp;</a>", "no XML (undefined entity)", 1),
        (b"\n<!DOCTYPE a><a/>", "a DOCTYPE", 2),
        (b"<?xml version='1.0' encoding='utf-7'?><a/>", "the encoding utf-7", 1),
        (b"<?xml version='1.0' encoding='rot13'?><a/>", "the encoding rot13", 1),
        (b"<a>\n\xff</a>", "bytes that are not UTF-8", 2),
        (b"\xff\xfe<\0a", "bytes that are not UTF-16-LE", 1),
        (b"<a\0/>", "no XML (not well-formed (invalid token))", 1),
        (b"<a>" + b" " * LARGEST + b"</a>", "a longer file", 0),
        (b"<" + b"a" * (LONGEST_NAME + 1) + b"/>", "a longer name", 1),
        (b"<a>" * (DEEPEST + 1), "elements within elements", 1),
    ],
)
def test_what_cannot_be_read(content: bytes, read: str, line: int) -> None:
    with pytest.raises(Unreadable) as caught:
        parse(content)
    assert (caught.value.read, caught.value.line) == (read, line)


def test_the_largest_and_deepest_file_is_read() -> None:
    inner = b"<a>" * DEEPEST + b"</a>" * DEEPEST
    root = parse(inner + b" " * (LARGEST - len(inner)))
    deep = 1
    while root.children:
        (root,) = root.children
        deep += 1
    assert deep == DEEPEST


def test_the_five_entities_of_xml_itself() -> None:
    assert parse(b"<a x='&lt;&gt;&amp;&quot;&apos;&#233;'/>").get("x") == "<>&\"'é"


NAMES = st.text("abc", min_size=1, max_size=3)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="￾￿"))


def quoted(value: str) -> str:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        value = value.replace(char, entity)
    return f'"{value}"'


@given(st.dictionaries(NAMES, VALUES), st.lists(st.sampled_from([" ", "\n", "\n\n ", "\t"]), min_size=9))
def test_each_attribute_has_its_value_and_its_line(attributes: dict[str, str], gaps: list[str]) -> None:
    text, lines = "<e", {}
    for number, (name, value) in enumerate(attributes.items()):
        text += gaps[number % len(gaps)]
        lines[name] = text.count("\n") + 1
        text += f"{name}={quoted(value)}"
    root = parse(f"{text}/>".encode())
    assert {name: one.value for name, one in root.attributes.items()} == attributes
    assert {name: one.place.line for name, one in root.attributes.items()} == lines


@given(st.binary())
def test_any_bytes_are_a_tree_or_unreadable(content: bytes) -> None:
    found: Element | Unreadable
    try:
        found = parse(content)
    except Unreadable as problem:
        found = problem
    assert isinstance(found, Element) or (found.read and found.line >= 0)
