"""What the exchange remembers of samples beyond one connection. Pure; lost with the process.

Only what a fair judgement needs: which samples rest for a while, how often base left each
unanswered or put it off, how many bytes it has cost, and which were on the wire whenever the
link broke.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_RESTING = 8192
MAX_REMEMBERED = 8192


@dataclass(slots=True)
class _Memory:
    unanswered: int = 0  # offers or sendings in a row that base left unanswered
    put_off: int = 0  # times that base said `later`
    delivered: int = 0  # bytes of its pixels that the broker took
    cuts: int = 0  # links lost in a row with this sample on the wire
    blamed: int = 0  # those of them between which others came through
    others_at_cut: int = -1  # the count of what came through, at the last one blamed


class History:
    """Memory of a bounded number of samples; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._memories: dict[str, _Memory] = {}
        self._resting: dict[str, tuple[float, bool]] = {}
        self._came_through = 0

    def settled(self, sample_id: str) -> None:
        """Base is done with it: nothing to remember."""
        self._came_through += 1
        self.forget(sample_id)

    def forget(self, sample_id: str) -> None:
        """It is out of the queue."""
        self._memories.pop(sample_id, None)
        self._resting.pop(sample_id, None)

    def wanted(self, sample_id: str, *, progress: bool) -> None:
        """Base asked for pixels; `progress`: fewer than when the latest attempt began."""
        memory = self._of(sample_id)
        memory.unanswered = 0
        if progress:
            self._came_through += 1
            memory.cuts = memory.blamed = 0

    def cut_off(self, sample_id: str) -> int:
        """The link broke with some of it on the wire; how often it is to blame by now.

        Counts only breaks between which other samples came through: on a link that carries
        nothing at all, the sample is not to blame.
        """
        memory = self._of(sample_id)
        memory.cuts += 1
        if self._came_through > memory.others_at_cut:
            memory.blamed += 1
            memory.others_at_cut = self._came_through
        return memory.blamed

    def cuts(self, sample_id: str) -> int:
        """How many links in a row broke with some of it on the wire."""
        memory = self._memories.get(sample_id)
        return 0 if memory is None else memory.cuts

    def unanswered(self, sample_id: str) -> int:
        """Base left it unanswered; how often in a row now."""
        memory = self._of(sample_id)
        memory.unanswered += 1
        return memory.unanswered

    def put_off(self, sample_id: str) -> int:
        """Base said `later`; how often by now."""
        memory = self._of(sample_id)
        memory.put_off += 1
        return memory.put_off

    def delivered(self, sample_id: str, size: int) -> None:
        """The broker took so many bytes of its pixels."""
        self._of(sample_id).delivered += size

    def delivered_bytes(self, sample_id: str) -> int:
        """Bytes of its pixels that the broker took, those it took twice counted twice."""
        memory = self._memories.get(sample_id)
        return 0 if memory is None else memory.delivered

    def rest(self, sample_id: str, until: float, *, asked_by_base: bool) -> None:
        """Offer others first, until then; of too many, the one that rests longest rests no more."""
        self._resting.pop(sample_id, None)
        while len(self._resting) >= MAX_RESTING:
            del self._resting[next(iter(self._resting))]
        self._resting[sample_id] = (until, asked_by_base)

    def wake(self) -> None:
        """Base is back after a silence: only what it asked to be left alone rests on."""
        self._resting = {key: rest for key, rest in self._resting.items() if rest[1]}

    def resting(self, now: float) -> frozenset[str]:
        """Samples not to be offered yet."""
        self._resting = {key: rest for key, rest in self._resting.items() if rest[0] > now}
        return frozenset(self._resting)

    def _of(self, sample_id: str) -> _Memory:
        memory = self._memories.get(sample_id)
        if memory is None:
            while len(self._memories) >= MAX_REMEMBERED:
                self._memories.pop(next(iter(self._memories)))
            memory = self._memories[sample_id] = _Memory()
        return memory
