"""Any bytes decode or raise ProtocolError, nothing else, in bounded memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_protocol import codec
from sync_protocol import messages as m
from sync_protocol.structure import MAX_DEPTH, StructureError, check_structure

Golden = dict[str, tuple[Any, bytes]]
KINDS = sorted(codec.MAX_BYTES, key=lambda kind: kind.__name__)
MEMORY_FACTOR = 30
"""Peak memory per byte of input. An empty Python dict takes 64 bytes, a small int 28."""


def decodes(data: bytes, kind: type) -> bool:
    """Whether `data` decodes; any error but ProtocolError comes through."""
    try:
        message = codec.decode(data, kind)
    except codec.ProtocolError:
        return False
    assert isinstance(message, kind)
    return True


def peak_memory(data: bytes, kind: type) -> int:
    tracemalloc.start()
    try:
        decodes(data, kind)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=400), st.sampled_from(KINDS))
@settings(deadline=None, max_examples=600)
def test_any_bytes(data: bytes, kind: type) -> None:
    """Noise of every length decodes or raises the one named error."""
    decodes(data, kind)


@given(st.data())
@settings(deadline=None, max_examples=600)
def test_damaged_messages(golden: Golden, data: st.DataObject) -> None:
    """Good bytes with some replaced, cut out, doubled or put in: close to right is hardest."""
    name = data.draw(st.sampled_from(sorted(golden)))
    message, whole = golden[name]
    bad = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(bad)))
        end = data.draw(st.integers(start, min(len(bad), start + 8)))
        bad[start:end] = data.draw(st.binary(max_size=8))
    decodes(bytes(bad), type(message))


_LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.binary(max_size=40),
    st.sampled_from(["want", "later", "stored", "0" * 32, b"\0" * 32]),
)
_KNOWN = st.sampled_from(
    sorted({name for kind in (*KINDS, m.Answer, m.Place) for name in kind.__struct_fields__})
)
_NONSENSE = st.recursive(
    st.one_of(_LEAF, st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(_KNOWN, _LEAF), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(_KNOWN, _NONSENSE, max_size=5))
@settings(deadline=None, max_examples=300)
def test_well_formed_nonsense(tree: dict[str, object]) -> None:
    """Proper msgpack of all types in all places, with names of ours among the keys."""
    data = msgspec.msgpack.encode(tree)
    for kind in KINDS:
        decodes(data, kind)


def test_truncated_golden_never_decodes(golden: Golden) -> None:
    """Every proper beginning of every message is refused."""
    for message, whole in golden.values():
        assert not any(decodes(whole[:end], type(message)) for end in range(len(whole)))


@pytest.mark.parametrize("tail", [b"\0", b"\xc0", b"\x80", b"\xc1", bytes(100)])
def test_extended_golden_never_decodes(golden: Golden, tail: bytes) -> None:
    """Bytes after the message are refused: nothing may hide behind it."""
    for message, whole in golden.values():
        assert not decodes(whole + tail, type(message))
        assert not decodes(whole + whole, type(message))


def test_a_message_is_no_other_kind(golden: Golden) -> None:
    """A golden message sent to the wrong topic is refused there."""
    for message, whole in golden.values():
        for kind in KINDS:
            assert decodes(whole, kind) is (kind is type(message))


FOUR_BILLION = {
    "array": b"\xdd\xff\xff\xff\xff",
    "map": b"\xdf\xff\xff\xff\xff",
    "text": b"\xdb\xff\xff\xff\xff",
    "binary": b"\xc6\xff\xff\xff\xff",
    "extension": b"\xc9\xff\xff\xff\xff\x01",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", FOUR_BILLION.values(), ids=FOUR_BILLION)
def test_claims_of_four_billion_cost_nothing(header: bytes, kind: type) -> None:
    """A header that promises 4 GiB, alone, in any field or nested, is refused in little memory."""
    for field in (*kind.__struct_fields__, "unknown"):
        name = bytes([0xA0 + len(field)]) + field.encode() if len(field) < 32 else b""
        for data in (header, b"\x81" + name + header, b"\x81" + name + b"\x91" * 5 + header):
            assert not decodes(data, kind)
            assert peak_memory(data, kind) < 64 * 1024


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1x", b"\xdc\x00\x01", b"\x81\x91"])
@pytest.mark.parametrize("kind", KINDS)
def test_deep_nesting_is_refused(kind: type, opening: bytes) -> None:
    """A thousand and more levels neither recurse nor crash."""
    times = codec.MAX_BYTES[kind] // len(opening) - 1
    for data in (opening * times, opening * times + b"\xc0", b"\x81\xa1x" + opening * 1000):
        assert not decodes(data, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "filling",
    [b"\x80", b"\x90", b"\x00", b"\xc0", b"\xa0", b"\xc4\x00", b"\x81\xa0\x80", b"\x91\x90"],
)
def test_memory_stays_a_small_multiple_of_the_input(kind: type, filling: bytes) -> None:
    """A long message of the smallest values, wherever they stand, stays affordable."""
    first = kind.__struct_fields__[0]
    for field in (first, "unknown"):
        name = bytes([0xA0 + len(field)]) + field.encode()
        limit = min(codec.MAX_BYTES[kind], 32 * 1024)  # what grows, grows in proportion
        count = (limit - 64) // len(filling)
        data = b"\x81" + name + b"\xdd" + count.to_bytes(4, "big") + filling * count
        assert len(data) <= limit
        assert peak_memory(data, kind) < MEMORY_FACTOR * len(data) + 64 * 1024


@pytest.mark.parametrize("kind", KINDS)
def test_too_long_is_refused_unread(kind: type) -> None:
    """Beyond its kind's limit nothing is looked at."""
    data = bytes(codec.MAX_BYTES[kind] + 1)
    with pytest.raises(codec.ProtocolError, match="allowed"):
        codec.decode(data, kind)


NOT_FINITE = {
    "float64 NaN": b"\xcb\x7f\xf8" + bytes(6),
    "float64 infinity": b"\xcb\x7f\xf0" + bytes(6),
    "float32 NaN": b"\xca\x7f\xc0\x00\x00",
    "float32 -infinity": b"\xca\xff\x80\x00\x00",
}


@pytest.mark.parametrize("number", NOT_FINITE.values(), ids=NOT_FINITE)
def test_no_number_but_finite_ones_arrives(golden: Golden, number: bytes) -> None:
    """NaN and infinity are refused in every place of an offer that holds a float64."""
    message, whole = golden["offer_full"]
    places = [at for at in range(len(whole) - 9) if _is_float_at(whole, at)]
    assert len(places) >= 15
    for at in places:
        assert not decodes(whole[:at] + number + whole[at + 9 :], type(message))


def _is_float_at(whole: bytes, at: int) -> bool:
    """Whether a float64 begins there: replaced by another one, it still decodes, as another."""
    if whole[at] != 0xCB:
        return False
    changed = whole[:at] + b"\xcb\x3f\xb0" + bytes(6) + whole[at + 9 :]  # 0.0625
    return decodes(changed, m.Offer)


def test_invalid_text_is_refused() -> None:
    """Text that is not UTF-8, a lone surrogate in UTF-8's manner among it, is no text."""
    for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        version = bytes([0xA0 + len(bad)]) + bad
        data = b"\x83\xa6online\xc3\xa5birth\x07\xadagent_version" + version
        assert not decodes(data, m.Presence)
        assert not decodes(b"\x84" + data[1:] + version + b"\x01", m.Presence)


def test_doubled_fields_are_no_trouble() -> None:
    """A field that comes twice is taken once; the message stays within its bounds."""
    start = b"\xa6online\xc3\xadagent_version\xa11"
    assert codec.decode(b"\x84" + start + b"\xa5birth\x01\xa5birth\x02", m.Presence).birth in (1, 2)
    assert not decodes(b"\x84" + start + b"\xa5birth\x01\xa5birth\xff", m.Presence)
    assert not decodes(b"\x84" + start + b"\xa5birth\xff\xa5birth\x01", m.Presence)


def test_extension_types_are_refused_where_a_value_is_due() -> None:
    """Extensions, the timestamp among them, mean nothing here."""
    for extension in (b"\xd6\xff\x00\x00\x00\x00", b"\xd4\x01\x00", b"\xc7\x00\x05"):
        data = b"\x83\xa6online\xc3\xadagent_version\xa11\xa5birth" + extension
        assert not decodes(data, m.Presence)


def test_keys_that_are_no_names_are_refused_or_ignored() -> None:
    """Numbers, lists and maps as keys of a map raise nothing unexpected."""
    for key in (b"\x01", b"\xc0", b"\x90", b"\x80", b"\xca\x7f\xc0\x00\x00", b"\xc4\x01x"):
        decodes(b"\x81" + key + b"\x01", m.Presence)
        decodes(b"\x82\xa4boot\x01\xa8counters\x81" + key + b"\x01", m.Status)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(st.characters(exclude_categories=("Cs",))),
        st.binary(),
        st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=20), st.dictionaries(st.text(max_size=3), inner, max_size=20)
    ),
    max_leaves=60,
)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + max((_depth(item) for item in value), default=-1 if not value else 0)
    return 0


@given(VALUES)
@settings(deadline=None, max_examples=100)
def test_structure_accepts_what_another_encoder_writes(value: object) -> None:
    """Every value that msgspec encodes is one well-formed value, and no more, and no less."""
    data = msgspec.msgpack.encode(value)
    if _depth(value) <= MAX_DEPTH:
        check_structure(data)
    with pytest.raises(StructureError):
        check_structure(data + b"\0")
    with pytest.raises(StructureError):
        check_structure(data[:-1])


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=600)
def test_structure_never_refuses_what_another_decoder_reads(data: bytes) -> None:
    """Whatever msgspec reads without types is well-formed here, unless it is nested too deep."""
    try:
        value = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError):
        return
    if _depth(value) <= MAX_DEPTH:
        check_structure(data)


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01"])
def test_the_limit_of_depth_is_exact(opening: bytes) -> None:
    """Sixteen levels pass, seventeen do not."""
    check_structure(opening * MAX_DEPTH + b"\xc0")
    with pytest.raises(StructureError, match="deeper"):
        check_structure(opening * (MAX_DEPTH + 1) + b"\xc0")
