"""Which samples fit one offer, by their encoded size. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import structs

from edge_agent.uplink.events import Candidate
from sync_protocol.codec import ProtocolError, encode
from sync_protocol.messages import OFFER_MAX_SAMPLES, Offer, SampleDescription

# An offer is a map of one entry: 1 byte, the key "samples" 8, the array's header 1 to 3.
_HEADER_OF_ONE = 10
_HEADER_MAX = 12
_PAYLOAD_KEY_MAX = 8 + 3 + 2  # the key "payload", the bytes' header, a longer map header


@dataclass(frozen=True, slots=True)
class Packed:
    """An offer's worth of samples."""

    candidates: tuple[Candidate, ...]
    """Those that fit, in the order given."""
    descriptions: tuple[SampleDescription, ...]
    """What to offer of each; with its payload where that fits, too."""
    size: int
    """At least the encoded offer's length in bytes."""
    unusable: tuple[tuple[str, str], ...]
    """Sample id and reason of those that no offer can hold."""


def pack(candidates: Iterable[Candidate], limit: int, first: int, *, inline: bool) -> Packed:
    """The first candidates that fit `limit` bytes together; one alone may take `first` bytes.

    `inline`: small payloads travel along where they fit. The order is kept: packing stops at
    the first that does not fit, so a large description is never overtaken for ever.
    """
    taken: list[Candidate] = []
    descriptions: list[SampleDescription] = []
    unusable: list[tuple[str, str]] = []
    size = _HEADER_MAX
    for candidate in candidates:
        if len(taken) == OFFER_MAX_SAMPLES:
            break
        room = limit - size if taken else first - _HEADER_OF_ONE
        try:
            plain = _encoded_size(candidate.description)
        except ProtocolError as error:
            unusable.append((candidate.description.sample_id, f"cannot be offered: {error}"))
            continue
        if plain > room:
            break
        description = candidate.description
        pixels = candidate.inline
        if inline and pixels is not None and plain + len(pixels) + _PAYLOAD_KEY_MAX <= room:
            description = structs.replace(description, payload=pixels)
            plain = _encoded_size(description)
        taken.append(candidate)
        descriptions.append(description)
        size += plain
    return Packed(tuple(taken), tuple(descriptions), size, tuple(unusable))


def _encoded_size(description: SampleDescription) -> int:
    return len(encode(Offer(samples=(description,)))) - _HEADER_OF_ONE
