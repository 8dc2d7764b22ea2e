"""A walk over msgpack bytes that reads no values: are all lengths real, is the nesting shallow?

A header may claim four billion elements in five bytes, or nest a thousand deep; a decoder that
believes it allocates or recurses first and complains later. The format is that of the msgpack
specification (https://github.com/msgpack/msgpack/blob/master/spec.md).
"""

from __future__ import annotations

from typing import Final

MAX_DEPTH: Final = 16

# Format byte -> (bytes of length field, fixed bytes that follow it).
_BIN_STR_EXT: Final = {
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0),
    0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip
_FIXED: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8,
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
_CONTAINERS: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


class StructureError(ValueError):
    """The bytes are not one well-formed, reasonably shallow msgpack value."""


def check_structure(data: bytes) -> None:
    """Check that `data` is exactly one msgpack value whose claimed lengths fit in it.

    Raises:
        StructureError: empty, cut short, followed by more bytes, nested deeper than
            `MAX_DEPTH`, or using the one reserved format byte.
    """
    position = 0
    open_items = [1]  # items still to read, per level of nesting
    while open_items:
        if open_items[-1] == 0:
            open_items.pop()
            continue
        open_items[-1] -= 1
        position, children = _skip_one(data, position)
        if children:
            # Each child takes a byte at least, so a larger claim is a lie.
            if children > len(data) - position:
                raise StructureError("a length reaches beyond the end")
            if len(open_items) > MAX_DEPTH:
                raise StructureError(f"nested deeper than {MAX_DEPTH}")
            open_items.append(children)
    if position != len(data):
        raise StructureError("more bytes follow the message")


def _skip_one(data: bytes, position: int) -> tuple[int, int]:
    """Past the value at `position`: where the next begins, and how many values are inside."""
    if position >= len(data):
        raise StructureError("cut short")
    code = data[position]
    position += 1
    if code <= 0x7F or code >= 0xE0:
        return position, 0
    if code <= 0x8F:
        return position, 2 * (code & 0x0F)
    if code <= 0x9F:
        return position, code & 0x0F
    if code <= 0xBF:
        return _advance(data, position, code & 0x1F), 0
    if code in _FIXED:
        return _advance(data, position, _FIXED[code]), 0
    if code in _BIN_STR_EXT:
        width, extra = _BIN_STR_EXT[code]
        body = _advance(data, position, width)
        length = int.from_bytes(data[position:body], "big")
        return _advance(data, body, extra + length), 0
    if code in _CONTAINERS:
        width, factor = _CONTAINERS[code]
        body = _advance(data, position, width)
        return body, factor * int.from_bytes(data[position:body], "big")
    raise StructureError(f"reserved format byte {code:#04x}")


def _advance(data: bytes, position: int, count: int) -> int:
    if count > len(data) - position:
        raise StructureError("cut short")
    return position + count
