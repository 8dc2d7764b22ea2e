"""Arithmetic on byte ranges: what is held, what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from server_sync.domain import Span


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same bytes as the fewest spans, sorted; empty spans vanish."""
    result: list[Span] = []
    for span in sorted(spans):
        if span.end <= span.offset:
            continue
        if result and span.offset <= result[-1].end:
            result[-1] = Span(result[-1].offset, max(result[-1].end, span.end))
        else:
            result.append(span)
    return tuple(result)


def missing(held: Iterable[Span], within: Span) -> tuple[Span, ...]:
    """The bytes of `within` that no span of `held` covers."""
    gaps: list[Span] = []
    position = within.offset
    for span in merged(held):
        if span.end <= position:
            continue
        if span.offset >= within.end:
            break
        if span.offset > position:
            gaps.append(Span(position, span.offset))
        position = span.end
    if position < within.end:
        gaps.append(Span(position, within.end))
    return tuple(gaps)
