"""How large a chunk should be on this link, from the time the broker takes to acknowledge. Pure.

In flight are `window` chunks. They should fill the link for its round trip, or it idles, and not
much longer, or an urgent sample queues behind them. So the window aims at
`rate * (shortest acknowledgement seen + QUEUE_S)`, after the bandwidth-delay product of
Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 2016.
"""

from __future__ import annotations

from sync_protocol.messages import CHUNK_MAX_DATA, CHUNK_MIN_DATA

QUEUE_S = 0.75
"""Seconds of sending that may wait in the window beyond the round trip."""

_KEEP = 0.8  # weight of the past in the running rate


class Pace:
    """The chunk size in bytes, between 8 and 64 KiB."""

    def __init__(self, window: int, chunk_bytes: int) -> None:
        self._window = window
        self._chunk_bytes = chunk_bytes
        self._bytes = 0.0
        self._busy_s = 0.0
        self._shortest_s = float("inf")
        self._last_at = float("-inf")

    @property
    def chunk_bytes(self) -> int:
        """Bytes of pixels in the next chunk."""
        return self._chunk_bytes

    @property
    def window_bytes(self) -> int:
        """Bytes that may be unacknowledged at once."""
        return self._window * self._chunk_bytes

    def acknowledged(self, size: int, sent_at: float, now: float, *, loaded: bool) -> None:
        """One publish of `size` bytes came through.

        `loaded`: the window was at least half full when it was sent; a lone small publish says
        how far away the broker is, but not how much the link carries.
        """
        self._shortest_s = min(self._shortest_s, now - sent_at)
        since = max(sent_at, self._last_at)
        self._last_at = now
        if not loaded:
            return
        self._bytes = _KEEP * self._bytes + size
        self._busy_s = _KEEP * self._busy_s + (now - since)
        if self._busy_s > 0.0:
            wanted = self._bytes / self._busy_s * (self._shortest_s + QUEUE_S) / self._window
            self._chunk_bytes = int(min(max(wanted, CHUNK_MIN_DATA), CHUNK_MAX_DATA))
        else:  # faster than the clock can tell
            self._chunk_bytes = CHUNK_MAX_DATA

    def cut_off(self, *, while_sending: bool) -> None:
        """The link is lost. What did not come through `while_sending` should be smaller."""
        if while_sending:
            self._chunk_bytes = max(self._chunk_bytes // 2, CHUNK_MIN_DATA)
        self._bytes = self._busy_s = 0.0
        self._shortest_s = float("inf")
        self._last_at = float("-inf")
