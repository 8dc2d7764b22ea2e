"""What was handed to the link and not yet acknowledged: never more than the window. Pure.

paho ignores its own in-flight limit after a reconnect, and brokers differ in theirs; so the
limit is kept here, in bytes and in number.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.uplink.pacing import Pace

MAX_PUBLISHES = 16
"""Below the 20 that paho and mosquitto allow at once by default."""


@dataclass(frozen=True, slots=True)
class Publish:
    """One message on its way."""

    sample_ids: tuple[str, ...]
    serial: int
    """Of the offer that the samples were in."""
    size: int
    sent_at: float
    loaded: bool
    pixels: bool
    """A chunk of one sample's pixels, not an offer."""


class InFlight:
    """Unacknowledged publishes by token."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._publishes: dict[int, Publish] = {}
        self._next_token = 0
        self._size = 0

    def __len__(self) -> int:
        return len(self._publishes)

    @property
    def size(self) -> int:
        """Bytes on their way."""
        return self._size

    def room(self) -> int:
        """Bytes that may be sent now."""
        if len(self._publishes) >= MAX_PUBLISHES:
            return 0
        return max(self._pace.window_bytes - self._size, 0)

    def launch(
        self, sample_ids: tuple[str, ...], serial: int, size: int, now: float, *, pixels: bool
    ) -> int:
        """A token for a message about to be handed to the link."""
        token = self._next_token
        self._next_token += 1
        self._size += size
        loaded = 2 * self._size >= self._pace.window_bytes
        self._publishes[token] = Publish(sample_ids, serial, size, now, loaded, pixels)
        return token

    def acknowledged(self, token: int, now: float) -> Publish | None:
        """The message that came through, None if it is not ours or was acknowledged before."""
        publish = self._publishes.pop(token, None)
        if publish is not None:
            self._size -= publish.size
            self._pace.acknowledged(publish.size, publish.sent_at, now, loaded=publish.loaded)
        return publish

    def cancelled(self, token: int) -> None:
        """The message was not sent after all."""
        publish = self._publishes.pop(token, None)
        if publish is not None:
            self._size -= publish.size

    def cut_off(self) -> None:
        """The link is lost, and with it all that was on its way."""
        self._pace.cut_off(while_sending=bool(self._publishes))
        self._publishes.clear()
        self._size = 0

    def oldest(self) -> float | None:
        """When the message that waits longest was sent."""
        return min((publish.sent_at for publish in self._publishes.values()), default=None)
