"""What fits the budget: the order in which samples go out, and in which they are given up."""

from __future__ import annotations

import math

SIZE_EXPONENT = 0.7
"""Below 1: a large sample pays for its bytes, but is not priced out by them alone."""


def priority(value: float, size_bytes: int) -> float:
    """Queue key of a sample: highest is sent first, lowest is evicted first.

    `value` in [0, 1], `size_bytes` of the encoded payload, at least 1.
    """
    return value / math.pow(max(size_bytes, 1), SIZE_EXPONENT)
