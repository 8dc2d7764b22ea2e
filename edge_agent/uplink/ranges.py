"""Byte ranges that base still misses. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sync_protocol.messages import ByteRange

Span = tuple[int, int]
"""First byte and the one after the last."""


def normalised(missing: Iterable[ByteRange], payload_size: int) -> list[Span]:
    """Ascending, disjoint, inside the payload: base cannot make a device send a byte twice."""
    spans: list[Span] = []
    for part in sorted(missing, key=lambda part: part.offset):
        offset, end = part.offset, min(part.end, payload_size)
        if spans and offset <= spans[-1][1]:
            offset, end = spans[-1][0], max(end, spans.pop()[1])
        if offset < end:
            spans.append((offset, end))
    return spans


def total(spans: Iterable[Span]) -> int:
    """Bytes in all of them."""
    return sum(end - offset for offset, end in spans)
