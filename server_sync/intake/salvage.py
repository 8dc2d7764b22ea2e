"""What can still be read of an offer that breaks the contract: one bad sample must not silence 63.

Pure. An old base meets newer devices: a payload type or state it has no word for fails the whole
message, and a device that gets no answer offers the same samples for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from sync_protocol import codec
from sync_protocol import messages as m
from sync_protocol.structure import StructureError, check_structure

_SAMPLE_ID = re.compile(r"[0-9a-f]{32}")
_KNOWN_TYPES = ("image/jpeg", "image/webp", "image/png")


@dataclass(frozen=True, slots=True)
class Salvaged:
    """The sound samples of a broken offer, and the ends of those that at least have an id."""

    samples: tuple[m.SampleDescription, ...] = ()
    settlements: tuple[m.Settlement, ...] = ()


def salvage_offer(data: bytes) -> Salvaged:
    """Read an offer sample by sample; whatever `data` is, nothing is raised."""
    if len(data) > m.OFFER_MAX_BYTES:
        return Salvaged()
    try:
        check_structure(data)
        content: Any = msgspec.msgpack.decode(data)
    except (StructureError, msgspec.MsgspecError, ValueError, TypeError):
        return Salvaged()
    items = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(items, list):
        return Salvaged()
    samples: list[m.SampleDescription] = []
    settlements: list[m.Settlement] = []
    for item in items[: m.OFFER_MAX_SAMPLES]:
        found = _read_one(item)
        if isinstance(found, m.SampleDescription):
            samples.append(found)
        elif found is not None:
            settlements.append(found)
    return Salvaged(tuple(samples), tuple(settlements))


def _read_one(item: Any) -> m.SampleDescription | m.Settlement | None:
    try:
        offer = codec.decode(msgspec.msgpack.encode({"samples": [item]}), m.Offer)
    except (
        codec.ProtocolError,
        msgspec.MsgspecError,
        TypeError,
        OverflowError,
        ValueError,
    ) as error:
        return _end_of(item, str(error))
    return offer.samples[0]


def _end_of(item: Any, error: str) -> m.Settlement | None:
    sample_id = item.get("sample_id") if isinstance(item, dict) else None
    if not isinstance(sample_id, str) or not _SAMPLE_ID.fullmatch(sample_id):
        return None
    media_type = item.get("payload_type")
    if isinstance(media_type, str) and media_type not in _KNOWN_TYPES:
        detail = f"this base takes no {media_type[:64]}"
        return m.Settlement(sample_id=sample_id, outcome="unsupported", detail=detail)
    detail = f"description not understood: {error}"[:1024]
    return m.Settlement(sample_id=sample_id, outcome="rejected", detail=detail)
