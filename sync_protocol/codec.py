"""Messages to bytes and back: msgpack maps, one size limit per kind, one named error."""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

import msgspec

from sync_protocol import messages as m
from sync_protocol.structure import StructureError, check_structure

AnyMessage = TypeVar("AnyMessage", m.Offer, m.Want, m.Chunk, m.Receipt, m.Status, m.Presence)

MAX_BYTES: Final[dict[type, int]] = {
    m.Offer: m.OFFER_MAX_BYTES,
    m.Want: 256 * 1024,
    m.Chunk: m.CHUNK_MAX_DATA + 1024,
    m.Receipt: 128 * 1024,
    m.Status: 64 * 1024,
    m.Presence: 4 * 1024,
}

_encoder = msgspec.msgpack.Encoder()
_decoders: Final[dict[type, msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in MAX_BYTES
}


class ProtocolError(ValueError):
    """A message that breaks the contract, coming or going."""


def encode(message: AnyMessage) -> bytes:
    """The message as bytes for the wire.

    Raises:
        ProtocolError: a number is not finite, a field is out of its bounds, or the whole is
            larger than its kind may be.
    """
    _refuse_non_finite(message)
    try:
        data = _encoder.encode(message)
    except (TypeError, OverflowError, UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise ProtocolError(f"{type(message).__name__}: {error}") from error
    # Bounds are checked by reading back: constructors do not check, and a message that base
    # would refuse must not leave the device.
    decode(data, type(message))
    return data


def decode(data: bytes, kind: type[AnyMessage]) -> AnyMessage:
    """The message of `kind` that `data` holds.

    Raises:
        ProtocolError: anything whatever is wrong with `data`; no other error is raised, and
            memory stays within a small multiple of `data`'s length.
    """
    limit = MAX_BYTES[kind]
    if len(data) > limit:
        raise ProtocolError(f"{kind.__name__}: {len(data)} bytes, at most {limit} allowed")
    try:
        check_structure(data)
        message: AnyMessage = _decoders[kind].decode(data)
    except (StructureError, msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"{kind.__name__}: {error}") from error
    _refuse_non_finite(message)
    if isinstance(message, m.Want):
        _check_ranges(message)
    if isinstance(message, m.Chunk) and message.offset + len(message.data) > message.payload_size:
        raise ProtocolError("Chunk: data reaches beyond the payload's end")
    return message


def _check_ranges(want: m.Want) -> None:
    for answer in want.answers:
        if any(part.end <= part.offset for part in answer.missing):
            raise ProtocolError(f"Want: an empty byte range for sample {answer.sample_id}")


def _refuse_non_finite(value: object) -> None:
    """Walk the message: a NaN would turn into a record that no comparison finds again."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ProtocolError(f"a number is not finite: {value}")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _refuse_non_finite(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            _refuse_non_finite(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _refuse_non_finite(item)
