"""Topic names: built, parsed, and never another device's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_protocol import topics
from sync_protocol.topics import Kind, Topic

DEVICES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(DEVICES, st.sampled_from(list(Kind)))
def test_round_trip(device: str, kind: Kind) -> None:
    """What is built is parsed back."""
    assert topics.parse(topics.build(device, kind)) == Topic(device, kind)


@given(st.text())
def test_any_name_parses_or_is_not_ours(name: str) -> None:
    """Any topic name gives a topic that builds the same name again, or None."""
    topic = topics.parse(name)
    assert topic is None or topics.build(topic.device, topic.kind) == name


@pytest.mark.parametrize(
    "device", ["", "+", "#", "a/b", "a b", "-a", ".a", "é", "a\n", "a\0", "x" * 65, "١"]
)
def test_no_name_reaches_into_other_topics(device: str) -> None:
    """Wildcards, levels, blanks and foreign digits cannot name a device."""
    assert not topics.is_device_id(device)
    with pytest.raises(ValueError, match="device id"):
        topics.build(device, Kind.OFFER)
    assert topics.parse(f"tilesift/1/{device}/offer") is None


@pytest.mark.parametrize(
    "name",
    [
        "tilesift/2/drone/offer",
        "tilesift/1/drone/offer/x",
        "tilesift/1/drone",
        "tilesift/1/drone/policy",
        "Tilesift/1/drone/offer",
        "/tilesift/1/drone/offer",
        "tilesift/01/drone/offer",
        "$SYS/broker/uptime",
    ],
)
def test_other_names_are_not_ours(name: str) -> None:
    """Another major version, level or kind is left alone."""
    assert topics.parse(name) is None


def test_directions_share_nothing_and_leave_nothing_out() -> None:
    """Every kind has one direction."""
    assert set(topics.FROM_DEVICE) | set(topics.TO_DEVICE) == set(Kind)
    assert not set(topics.FROM_DEVICE) & set(topics.TO_DEVICE)


def test_names_are_those_of_the_contract() -> None:
    """The spelling that deployed brokers' access lists rely on."""
    assert topics.build("drone-7", Kind.OFFER) == "tilesift/1/drone-7/offer"
    assert topics.build("drone-7", Kind.RECEIPT) == "tilesift/1/drone-7/receipt"
    assert topics.every_device(Kind.CHUNK) == "tilesift/1/+/chunk"
