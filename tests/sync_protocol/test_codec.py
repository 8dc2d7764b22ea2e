"""Messages to bytes and back: golden bytes, both directions, and what is refused on the way out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sync_protocol import codec
from sync_protocol import messages as m

Golden = dict[str, tuple[Any, bytes]]

NAMES = [
    "offer_least",
    "offer_full",
    "want",
    "chunk",
    "receipt",
    "status",
    "status_least",
    "presence",
    "will",
]


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_are_what_is_sent(golden: Golden, name: str) -> None:
    """The encoder gives the committed bytes: a device in the field and base at home agree."""
    message, data = golden[name]
    assert codec.encode(message) == data


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_are_understood(golden: Golden, name: str) -> None:
    """The decoder reads the committed bytes as the message of the table."""
    message, data = golden[name]
    assert codec.decode(data, type(message)) == message


def test_table_is_complete(golden: Golden) -> None:
    """Every kind of message is in the table, and every entry is tested."""
    assert set(golden) == set(NAMES)
    assert {type(message) for message, _ in golden.values()} == set(codec.MAX_BYTES)


def test_presence_is_what_the_specification_says(golden: Golden) -> None:
    """One message put together by hand, byte by byte, from the msgpack specification."""
    by_hand = (
        bytes([0x83])  # a map of 3
        + bytes([0xA6]) + b"online" + bytes([0xC3])  # text of 6, true
        + bytes([0xA5]) + b"birth" + bytes([0x07])  # text of 5, 7
        + bytes([0xAD]) + b"agent_version" + bytes([0xA5]) + b"0.1.0"
    )  # fmt: skip
    assert golden["presence"][1] == by_hand


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_round_trip_from_messages(any_message: st.SearchStrategy[Any], data: st.DataObject) -> None:
    """Whatever is sent arrives as it was, and would be sent on as the same bytes."""
    message = data.draw(any_message)
    try:
        encoded = codec.encode(message)
    except codec.ProtocolError as error:
        assume("allowed" not in str(error))  # three full descriptions may exceed an offer's size
        raise
    again = codec.decode(encoded, type(message))
    assert again == message
    assert codec.encode(again) == encoded


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_round_trip_from_bytes(any_message: st.SearchStrategy[Any], data: st.DataObject) -> None:
    """Bytes of another writer, fields in any order and defaults spelt out, mean the same."""
    message = data.draw(any_message)
    fields = msgspec.to_builtins(message, builtin_types=(bytes,))
    whole = {name: getattr(message, name) for name in message.__struct_fields__}
    shuffled = data.draw(st.permutations(sorted({**whole, **fields}.items())))
    encoded = msgspec.msgpack.encode(dict(shuffled))
    assume(len(encoded) <= codec.MAX_BYTES[type(message)])
    assert codec.decode(encoded, type(message)) == message


@pytest.mark.parametrize("name", NAMES)
def test_unknown_fields_are_ignored(golden: Golden, name: str) -> None:
    """A later version's additions, at the top and inside, do not disturb this one."""
    message, data = golden[name]
    fields = msgspec.msgpack.decode(data)

    def add(value: Any) -> Any:
        if isinstance(value, list):
            return [add(item) for item in value]
        if isinstance(value, dict) and not {"distance_m", "entropy", "p"} & set(value):
            nested = {key: add(item) for key, item in value.items() if key not in _FREE}
            kept = {key: item for key, item in value.items() if key in _FREE}
            return {"from_the_future": [1, {"x": None}], **nested, **kept}
        return value

    assert codec.decode(msgspec.msgpack.encode(add(fields)), type(message)) == message


_FREE = {"probabilities", "scores", "p_values", "evidence", "numbers", "counters"}


def _with(message: Any, path: tuple[str | int, ...], value: object) -> Any:
    """A copy with one thing replaced, however deep."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(message, tuple):
        items = list(message)
        items[int(step)] = _with(items[int(step)], rest, value)
        return tuple(items)
    if isinstance(message, dict):
        return {**message, step: _with(message.get(step), rest, value)}
    return msgspec.structs.replace(message, **{step: _with(getattr(message, step), rest, value)})


FLOATS: list[tuple[str, tuple[str | int, ...]]] = [
    ("offer_full", ("samples", 0, *path))
    for path in [
        ("gsd_m",),
        ("place", "longitude"),
        ("place", "sigma_m"),
        ("probabilities", "forest"),
        ("scores", "new"),
        ("p_values", "entropy"),
        ("findings", 0, "evidence", "distance_m"),
        ("reasons", 0, "numbers", "p"),
        ("value",),
        ("quality",),
        ("inclusion_probability",),
        ("embedding", "scale"),
    ]
] + [("want", ("answers", 1, "retry_after_s"))]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("name", "path"), FLOATS)
def test_no_number_but_finite_ones_leaves(
    golden: Golden, name: str, path: tuple[str | int, ...], number: float
) -> None:
    """NaN and infinity are refused in every place that holds a float."""
    with pytest.raises(codec.ProtocolError):
        codec.encode(_with(golden[name][0], path, number))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("presence", ("agent_version",), "\ud800"),
        ("presence", ("agent_version",), "x" * 129),
        ("presence", ("birth",), -1),
        ("presence", ("birth",), 2**63),
        ("presence", ("birth",), 2**64),
        ("presence", ("birth",), "seven"),
        ("presence", ("online",), object()),
        ("status", ("counters",), {"\udcff": 1}),
        ("status", ("counters",), {1: 1}),
        ("status", ("counters",), {str(number): number for number in range(129)}),
        ("offer_full", ("samples",), ()),
        ("offer_full", ("samples", 0, "sample_id"), "00112233445566778899AABBCCDDEEFF"),
        ("offer_full", ("samples", 0, "sample_id"), "00112233445566778899aabbccddeeff\n"),
        ("offer_full", ("samples", 0, "frame"), "DJI_\udc80.JPG"),
        ("offer_full", ("samples", 0, "payload_sha256"), bytes(31)),
        ("offer_full", ("samples", 0, "payload_size"), 0),
        ("offer_full", ("samples", 0, "payload_size"), m.PAYLOAD_MAX_BYTES + 1),
        ("offer_full", ("samples", 0, "payload_type"), "image/gif"),
        ("offer_full", ("samples", 0, "value"), 1.0000001),
        ("offer_full", ("samples", 0, "place", "latitude"), 90.5),
        ("offer_full", ("samples", 0, "findings", 0, "evidence", "species"), [1]),
        ("offer_full", ("samples", 0, "findings", 0, "evidence", "near"), 2**64),
        ("want", ("answers", 0, "missing", 0, "end"), 0),
        ("want", ("answers", 0, "missing", 1, "end"), 65_536),
        ("want", ("answers", 0, "ask"), "skip"),
        ("chunk", ("data",), b""),
        ("chunk", ("data",), bytes(m.CHUNK_MAX_DATA + 1)),
        ("chunk", ("payload_size",), 65_544),
        ("receipt", ("settlements", 0, "outcome"), "lost"),
    ],
)
def test_nothing_out_of_bounds_leaves(
    golden: Golden, name: str, path: tuple[str | int, ...], value: object
) -> None:
    """What base would refuse, or no wire can hold, is refused before it is sent."""
    with pytest.raises(codec.ProtocolError):
        codec.encode(_with(golden[name][0], path, value))


def test_an_offer_may_be_as_large_as_it_may_be_and_no_larger(golden: Golden) -> None:
    """The limit of 16 KiB is exact."""
    message = golden["offer_least"][0]

    def grown(size: int) -> m.Offer:
        return _with(message, ("samples", 0, "payload"), bytes(size))

    # Beyond 255 bytes a binary has a header of 3 bytes, so this probe tells the rest's size.
    room = m.OFFER_MAX_BYTES - len(codec.encode(grown(1000))) + 1000
    assert len(codec.encode(grown(room))) == m.OFFER_MAX_BYTES
    with pytest.raises(codec.ProtocolError, match="at most 16384"):
        codec.encode(grown(room + 1))


def test_the_largest_chunk_passes(golden: Golden) -> None:
    """A chunk of 64 KiB with all its header fits its kind's limit."""
    chunk = _with(golden["chunk"][0], ("data",), bytes(m.CHUNK_MAX_DATA))
    chunk = _with(chunk, ("payload_size",), m.PAYLOAD_MAX_BYTES)
    assert codec.decode(codec.encode(chunk), m.Chunk) == chunk
