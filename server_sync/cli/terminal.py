"""Texts of devices on a terminal: shown as they are, never obeyed."""

from __future__ import annotations

import re
from typing import Final

from rich.text import Text

# C0 and C1 controls steer a terminal (ECMA-48); line separators and the bidirectional controls
# of Unicode (UAX 9) make a line read as what it is not.
_STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """`text` with each control character spelled out, like \\x1b."""
    return _STEERING.sub(_spelled, text)


def cell(text: str, style: str = "") -> Text:
    """`text` for a table or a line of rich: no markup, no emoji codes, no control characters."""
    return Text(plain(text), style=style)


def json_safe(document: str) -> str:
    """A JSON document whose strings hold no raw control characters; it means the same."""
    # The encoder escapes C0 itself; line feeds that remain are its own indentation.
    return _STEERING.sub(lambda match: _json(match[0]), document)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _json(character: str) -> str:
    return character if character == "\n" else f"\\u{ord(character):04x}"
