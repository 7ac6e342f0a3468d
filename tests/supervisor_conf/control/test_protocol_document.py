"""docs/control-protocol.md is true: every example is a message, and every message has one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from supervisor_conf.control import messages
from supervisor_conf.control.codec import Decoder, encode

PAGE = (Path(__file__).parents[3] / "docs" / "control-protocol.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"\*\*(\w+)\*\*\. [^\n]*\n\n```json\n(.*?)\n```", PAGE, re.DOTALL)
VALUES = {"Route", "Step", "Report", "Refusal", "RequestLine", "Served"}  # carried by messages


@pytest.mark.parametrize(
    ("kind", "text"), EXAMPLES, ids=[f"{kind}{n}" for n, (kind, _) in enumerate(EXAMPLES)]
)
def test_an_example_is_the_message_it_says(kind: str, text: str) -> None:
    body = text.encode()
    (message,) = Decoder().feed(len(body).to_bytes(4, "big") + body)
    assert type(message).__name__ == kind
    assert json.loads(encode(message)[4:]) == json.loads(text)


def test_every_message_has_an_example() -> None:
    shapes = {
        name
        for name, value in vars(messages).items()
        if getattr(value, "__module__", "") == messages.__name__
    }
    assert {kind for kind, _ in EXAMPLES} == shapes - VALUES


def test_the_frame_in_bytes() -> None:
    (block,) = re.findall(r"```hex\n(.*?)\n```", PAGE, re.DOTALL)
    frame = bytes.fromhex(block)
    assert Decoder().feed(frame) == [messages.Need("shop")]
    assert encode(messages.Need("shop")) == frame
