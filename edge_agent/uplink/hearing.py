"""Is base there? What it was asked, what it answered, and when to ask again. Pure.

While base is silent, no pixels go out at all: lone offers probe for it, more and more rarely, so
an outage costs the queue no strikes and the link few bytes.
"""

from __future__ import annotations

PUT_OFF_FREELY = 256
"""Samples in a row that base may put off before offers become rare."""
PUT_OFF_PAUSE_S = 30.0
MAX_DOUBLINGS = 4


class Hearing:
    """Offers are numbered; base has answered up to some number."""

    def __init__(self, offer_timeout_s: float) -> None:
        self._offer_timeout_s = offer_timeout_s
        self._serial = 0  # of the latest offer
        self._answered = 0  # the latest offer that base answered in part
        self._heard_at = float("-inf")
        self._silent_rounds = 0
        self._put_off = 0  # samples in a row
        self._ask_after = float("-inf")
        self.speaks = False
        """Base has spoken, and not fallen silent since."""

    @property
    def is_silent(self) -> bool:
        """Base was asked, and has not answered in time."""
        return self._silent_rounds > 0

    def connected(self) -> None:
        """Another connection, another chance."""
        self._silent_rounds = 0
        self._ask_after = float("-inf")

    def heard(self, now: float) -> bool:
        """Base spoke; whether that ends a silence."""
        self._heard_at = now
        self.speaks = True
        if not self._silent_rounds:
            return False
        self._silent_rounds = 0
        self._ask_after = float("-inf")
        return True

    def next_serial(self) -> int:
        """The number of the offer about to be made."""
        self._serial += 1
        return self._serial

    def answered(self, serial: int) -> None:
        """Base said something to a sample of that offer."""
        self._answered = max(self._answered, serial)

    def has_answered(self, serial: int) -> bool:
        """Whether base got as far as that offer."""
        return serial <= self._answered

    def may_ask(self, now: float, *, waiting: bool) -> bool:
        """Whether another offer is due; `waiting`: some sample has had no first answer yet."""
        return now >= self._ask_after and (self._answered >= self._serial or not waiting)

    def pause(self, until: float) -> None:
        """Make no offer before then."""
        self._ask_after = max(self._ask_after, until)

    def put_off(self, now: float) -> None:
        """Base put a sample off: one that puts off everything is asked rarely."""
        self._put_off += 1
        if self._put_off >= PUT_OFF_FREELY:
            self.pause(now + PUT_OFF_PAUSE_S)

    def took(self) -> None:
        """Base wanted or settled a sample."""
        self._put_off = 0

    def was_silent_since(self, moment: float) -> bool:
        """Whether nothing came from base after that moment."""
        return self._heard_at <= moment

    def silence(self, now: float) -> None:
        """Base answered nothing in time: ask again, but later each time."""
        self.speaks = False
        doublings = min(self._silent_rounds, MAX_DOUBLINGS)
        self._ask_after = now + self._offer_timeout_s * (2**doublings - 1)
        self._silent_rounds += 1
