"""The small pure parts: backoff, chunk size, byte ranges, packing, settings."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.events import Candidate
from edge_agent.uplink.pacing import Pace
from edge_agent.uplink.packing import pack
from edge_agent.uplink.ranges import normalised, total
from edge_agent.uplink.settings import UplinkSettings
from sync_protocol.codec import encode
from sync_protocol.messages import ByteRange, Offer


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_backoff_stays_under_its_doubling_bound(seed: int, failures: int) -> None:
    """The n-th wait is at most min(2 * 2**n, 60) seconds, and never negative."""
    backoff = Backoff(2.0, 60.0, random.Random(seed))
    waits = [backoff.failed() for _ in range(failures)]
    assert all(0.0 <= wait <= min(2.0 * 2.0**n, 60.0) for n, wait in enumerate(waits))


def test_backoff_uses_the_whole_range() -> None:
    """Full jitter: the waits of many devices spread over all of 0 to the bound."""
    waits = [Backoff(8.0, 60.0, random.Random(seed)).failed() for seed in range(400)]
    assert min(waits) < 0.5
    assert max(waits) > 7.5
    assert 3.5 < sum(waits) / len(waits) < 4.5


def test_backoff_begins_anew_after_a_success() -> None:
    """One success forgives all failures."""
    backoff = Backoff(1.0, 60.0, random.Random(0))
    for _ in range(10):
        backoff.failed()
    backoff.succeeded()
    assert backoff.bound_s == 1.0


def run_link(pace: Pace, bytes_per_s: float, distance_s: float, chunks: int = 60) -> None:
    """A link of fixed speed and round trip, the window kept full."""
    now, link_free, flying = 0.0, 0.0, []
    for _ in range(chunks):
        while sum(size for size, _, _ in flying) + pace.chunk_bytes <= pace.window_bytes:
            size = pace.chunk_bytes
            link_free = max(now, link_free) + size / bytes_per_s
            flying.append((size, now, link_free + distance_s))
        size, sent_at, back_at = flying.pop(0)
        now = back_at
        pace.acknowledged(size, sent_at, now, loaded=True)


@pytest.mark.parametrize(
    ("bytes_per_s", "distance_s", "lowest", "highest"),
    [
        (1_000, 0.05, 8, 8),  # 8 kbit/s: as small as it gets
        (64_000, 0.05, 25, 50),  # 512 kbit/s: about the 32 KiB of the design
        (1_250_000, 0.02, 64, 64),  # 10 Mbit/s
        (1_250_000, 0.6, 64, 64),  # a satellite: far, so as much as may be on the way
    ],
)
def test_chunk_size_follows_the_link(
    bytes_per_s: float, distance_s: float, lowest: int, highest: int
) -> None:
    """Fast or far links get large chunks, slow ones small ones, from 8 to 64 KiB."""
    pace = Pace(2, 32 * 1024)
    run_link(pace, bytes_per_s, distance_s)
    assert lowest * 1024 <= pace.chunk_bytes <= highest * 1024


def test_a_cut_while_sending_halves_the_chunk() -> None:
    """What did not get through in one connection's life is tried in smaller pieces."""
    pace = Pace(2, 32 * 1024)
    sizes = []
    for _ in range(4):
        pace.cut_off(while_sending=True)
        sizes.append(pace.chunk_bytes // 1024)
    assert sizes == [16, 8, 8, 8]
    pace.cut_off(while_sending=False)
    assert pace.chunk_bytes == 8 * 1024


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=20), st.integers(1, 250)
)
def test_ranges_are_the_union_inside_the_payload(pairs: list[tuple[int, int]], size: int) -> None:
    """Against a set of single bytes: same bytes, each once, ascending."""
    spans = normalised([ByteRange(offset=a, end=b) for a, b in pairs], size)
    expected = {byte for a, b in pairs for byte in range(a, b) if byte < size}
    assert [byte for a, b in spans for byte in range(a, b)] == sorted(expected)
    assert total(spans) == len(expected)
    assert all(earlier[1] < later[0] for earlier, later in itertools.pairwise(spans))


@given(
    sizes=st.lists(st.integers(1, 2048), min_size=1, max_size=80),
    words=st.integers(0, 1024),
    limit=st.integers(500, 16 * 1024),
    inline=st.booleans(),
)
def test_an_offer_fits_and_keeps_the_order(
    candidate: Callable[..., Candidate], sizes: list[int], words: int, limit: int, inline: bool
) -> None:
    """The encoded offer never exceeds its limit, and holds the first samples in order."""
    candidates = []
    for number, size in enumerate(sizes, start=1):
        one = candidate(number, size, inline=True)
        frame = "x" * (words * number % 1024)
        description = msgspec.structs.replace(one.description, frame=frame)
        candidates.append(Candidate(description, one.priority, 0, None, one.inline))
    packed = pack(candidates, limit, 16 * 1024, inline=inline)
    assert packed.candidates == tuple(candidates[: len(packed.candidates)])
    assert 1 <= len(packed.candidates) <= 64
    size = len(encode(Offer(samples=packed.descriptions)))
    assert size <= packed.size
    assert packed.size <= limit or len(packed.candidates) == 1
    for one, description in zip(packed.candidates, packed.descriptions, strict=True):
        assert description.payload in ((None, one.inline) if inline else (None,))


def test_settings_refuse_a_backoff_that_shrinks() -> None:
    """A contradiction between two keys is found at start."""
    with pytest.raises(msgspec.ValidationError, match="backoff_max_s is below backoff_min_s"):
        msgspec.toml.decode("backoff_min_s = 5.0\nbackoff_max_s = 2.0", type=UplinkSettings)


@pytest.mark.parametrize("name", ["two words", "a/b", "+", "-x", "x" * 65, "x\\n"])
def test_settings_refuse_a_device_id_that_is_no_topic_level(name: str) -> None:
    """A device id that could reach into another device's topics never leaves the settings."""
    with pytest.raises(msgspec.ValidationError, match="device"):
        msgspec.toml.decode(f'device = "{name}"', type=UplinkSettings)
