"""How long to wait before the next try. Pure: the randomness is handed in.

Full jitter: a uniform draw from 0 to the exponential bound, so that a fleet cut off together
does not come back together (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015).
"""

from __future__ import annotations

import random


class Backoff:
    """Bounds from `lowest_s`, doubling up to `highest_s`; each wait is drawn with full jitter."""

    def __init__(self, lowest_s: float, highest_s: float, rng: random.Random) -> None:
        self._lowest_s = lowest_s
        self._highest_s = highest_s
        self._rng = rng
        self._bound_s = lowest_s

    @property
    def bound_s(self) -> float:
        """The longest that the next wait can be, in seconds."""
        return self._bound_s

    def failed(self) -> float:
        """Seconds to wait after one more failure."""
        wait_s = self._rng.uniform(0.0, self._bound_s)
        self._bound_s = min(self._bound_s * 2.0, self._highest_s)
        return wait_s

    def succeeded(self) -> None:
        """Begin anew from the lowest bound."""
        self._bound_s = self._lowest_s
