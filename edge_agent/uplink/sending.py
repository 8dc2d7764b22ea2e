"""Which pixels go out next. Pure."""

from __future__ import annotations

from edge_agent.uplink.events import Action, PublishChunk
from edge_agent.uplink.flight import InFlight
from edge_agent.uplink.hand import Hand, InHand
from edge_agent.uplink.strikes import Strikes


def next_chunks(
    hand: Hand, flight: InFlight, strikes: Strikes, chunk_bytes: int, now: float
) -> list[Action]:
    """As many chunks as the window holds, the most valuable sample's first, after their marks."""
    started: list[InHand] = []
    chunks: list[Action] = []
    while (sample := hand.next_wanted()) is not None:
        size = sample.next_size(chunk_bytes)
        if size > flight.room() or _in_company(sample, hand, flight):
            break
        if not sample.attempting:
            started.append(sample)
            sample.attempting = True
        offset, end = sample.take(size, now)
        description = sample.candidate.description
        ids = (description.sample_id,)
        token = flight.launch(ids, sample.serial, size, now, pixels=True)
        chunks.append(PublishChunk(token, description, offset, end))
    return strikes.begin(started) + chunks


def _in_company(sample: InHand, hand: Hand, flight: InFlight) -> bool:
    """Whether a suspect would share the wire with others.

    What kills the process takes an attempt of all that is on the wire; alone, each sample
    answers for itself only.
    """
    if sample.suspect:
        own = sample.unacknowledged if sample.attempting else 0
        return len(flight) > own or hand.any_offered()
    return any(other.suspect and other.unacknowledged for other in hand.values())
