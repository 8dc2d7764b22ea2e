"""The rules of the intake, one by one, by hand."""

from __future__ import annotations

import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_sync.domain import Alike, KnownSample, Picture, SampleKey, Span, State
from server_sync.intake import decide
from server_sync.intake.decide import OfferFacts, Policy
from server_sync.ranges import merged, missing
from sync_protocol import messages as m

POLICY = Policy(attempts=3, retry_after_s=60.0)
OTHER = SampleKey("drone-9", "f" * 32)


def known(sample, state, **changes):
    fields = {
        "state": state,
        "detail": "as told before",
        "payload_sha256": sample.payload_sha256,
        "payload_size": sample.payload_size,
        "payload_type": sample.payload_type,
        "failures": 0,
        "held": (),
    }
    return KnownSample(**(fields | changes))


@pytest.fixture(scope="module")
def sample(describe, picture):
    return describe(picture(1), sample_id="a" * 32)


def test_a_new_sample_is_wanted_whole(sample):
    """Nothing known: write the description down, ask for all bytes."""
    decision = decide.decide_offer(sample, OfferFacts(), POLICY)
    assert decision.write is State.WANTED
    assert decision.reply == m.Answer(
        sample_id="a" * 32, ask="want", missing=(m.ByteRange(offset=0, end=sample.payload_size),)
    )


def test_a_half_sent_sample_is_asked_for_the_rest(sample):
    """Held ranges are subtracted from what is wanted."""
    facts = OfferFacts(known=known(sample, State.WANTED, held=(Span(0, 10), Span(20, 30))))
    reply = decide.decide_offer(sample, facts, POLICY).reply
    assert [(part.offset, part.end) for part in reply.missing] == [
        (10, 20),
        (30, sample.payload_size),
    ]


@pytest.mark.parametrize("state", [State.STORED, State.DUPLICATE, State.SKIPPED, State.REJECTED])
def test_an_end_is_told_again_and_nothing_is_written(sample, state):
    """A repeated offer of a settled sample gives the same settlement."""
    decision = decide.decide_offer(sample, OfferFacts(known=known(sample, state)), POLICY)
    assert decision.write is None
    assert decision.reply == m.Settlement(
        sample_id="a" * 32, outcome=str(state), detail="as told before"
    )


def test_an_id_never_stands_for_other_pixels(sample):
    """A settled id offered with other bytes is rejected and the old row stays."""
    old = known(sample, State.STORED, payload_sha256=b"\0" * 32)
    decision = decide.decide_offer(sample, OfferFacts(known=old), POLICY)
    assert decision.write is None
    assert decision.reply.outcome == "rejected"


def test_other_pixels_under_a_wanted_id_start_anew(sample):
    """While nothing is settled the newest description counts, and old parts are forgotten."""
    old = known(sample, State.WANTED, payload_sha256=b"\0" * 32, held=(Span(0, 10),))
    decision = decide.decide_offer(sample, OfferFacts(known=old), POLICY)
    assert decision.restart
    assert decision.reply.missing == (m.ByteRange(offset=0, end=sample.payload_size),)


def test_known_bytes_are_a_duplicate(sample):
    """The fleet holds the very bytes: description kept, no pixels asked for."""
    decision = decide.decide_offer(sample, OfferFacts(twin=OTHER), POLICY)
    assert decision.write is State.DUPLICATE
    assert decision.reply.outcome == "duplicate"
    assert "drone-9/ffff" in decision.reply.detail


def test_a_look_alike_is_skipped_with_the_reason(sample):
    """The fleet holds a near-identical picture: description kept, pixels not asked for."""
    decision = decide.decide_offer(sample, OfferFacts(alike=Alike(OTHER, 3)), POLICY)
    assert decision.write is State.SKIPPED
    assert decision.reply.detail == f"alike drone-9/{'f' * 32}, 3 of 64 bits differ"


def test_what_was_asked_for_stays_asked_for(sample):
    """A look-alike that arrives meanwhile does not stop pixels already under way."""
    facts = OfferFacts(known=known(sample, State.WANTED), alike=Alike(OTHER, 0))
    assert decide.decide_offer(sample, facts, POLICY).reply.ask == "want"


def test_a_full_disk_says_later_and_keeps_nothing(sample):
    """No room: the device is told when to come back."""
    decision = decide.decide_offer(sample, OfferFacts(room=False), POLICY)
    assert decision.write is None
    assert (decision.reply.ask, decision.reply.retry_after_s) == ("later", 60.0)


def test_a_kind_not_taken_is_unsupported_until_it_is(sample):
    """`unsupported` is told again, and lifted once the base takes that kind."""
    strict = Policy(accept=frozenset({"image/jpeg"}))
    assert decide.decide_offer(sample, OfferFacts(), strict).reply.outcome == "unsupported"
    facts = OfferFacts(known=known(sample, State.UNSUPPORTED))
    assert decide.decide_offer(sample, facts, strict).reply.outcome == "unsupported"
    assert decide.decide_offer(sample, facts, POLICY).reply.ask == "want"


def test_inline_pixels_are_judged_at_once(describe, picture):
    """All pixels in the offer: no round trip; a wrong length is asked for as usual."""
    payload = picture(1)
    whole = describe(payload, payload=payload)
    assert decide.decide_offer(whole, OfferFacts(), POLICY).inline
    short = describe(payload, payload=payload[:-1])
    assert not decide.decide_offer(short, OfferFacts(), POLICY).inline
    assert decide.decide_offer(short, OfferFacts(), POLICY).reply.ask == "want"


def piece(sample, offset, data, **changes):
    fields = {
        "sample_id": sample.sample_id,
        "payload_sha256": sample.payload_sha256,
        "payload_size": sample.payload_size,
        "offset": offset,
        "crc32": zlib.crc32(data),
        "data": data,
    }
    return m.Chunk(**(fields | changes))


def test_only_missing_bytes_of_a_chunk_are_kept(sample):
    """Parts never overlap: what is held already is cut away."""
    here = known(sample, State.WANTED, held=(Span(5, 10), Span(12, 15)))
    decision = decide.decide_chunk(piece(sample, 0, b"x" * 20), here, POLICY)
    assert decision.pieces == (Span(0, 5), Span(10, 12), Span(15, 20))
    assert not decision.complete


def test_the_last_piece_completes(sample):
    """Complete is what covers every byte, in whatever order."""
    size = sample.payload_size
    here = known(sample, State.WANTED, held=(Span(10, size),))
    assert decide.decide_chunk(piece(sample, 0, b"x" * 10), here, POLICY).complete


def test_a_chunk_that_is_all_needs_no_putting_together(sample):
    """The whole payload in one chunk, nothing held: `alone`; with something held it is not."""
    data = b"x" * sample.payload_size
    here = known(sample, State.WANTED)
    assert decide.decide_chunk(piece(sample, 0, data), here, POLICY).alone
    here = known(sample, State.WANTED, held=(Span(0, 10),))
    decision = decide.decide_chunk(piece(sample, 0, data), here, POLICY)
    assert (decision.complete, decision.alone) == (True, False)


def test_a_payload_in_crumbs_is_refused_but_for_gaps_and_tail(sample):
    """16 MiB may be 16 + 4096 pieces: then one more byte is too small, wherever it touches; a
    chunk of full size, one that closes a gap, and the tail are kept."""
    size = m.PAYLOAD_MAX_BYTES
    held = tuple(Span(2 * n, 2 * n + 1) for n in range(16 + 4096))
    end = held[-1].end
    here = known(sample, State.WANTED, payload_size=size, held=held)

    def cause(offset, length, **changes):
        chunk = piece(sample, offset, b"x" * length, payload_size=size, **changes)
        return decide.decide_chunk(chunk, here, POLICY).cause

    assert cause(end, 1) == cause(end + 100, 8191) == "too_small"
    assert cause(end + 100, 8192) == cause(1, 1) == cause(size - 1, 1) == "kept"
    few = known(sample, State.WANTED, payload_size=size, held=held[:-1])
    assert decide.decide_chunk(
        piece(sample, end + 5, b"x", payload_size=size), few, POLICY
    ).pieces == (Span(end + 5, end + 6),)


@given(st.lists(st.tuples(st.integers(0, 19_999), st.integers(1, 40)), max_size=200))
def test_pieces_of_a_payload_stay_few_and_it_can_always_be_completed(sample, crumbs):
    """Any crumbs of 20 kB leave no more than their bound of pieces plus the gaps they closed, and
    honest chunks of the ranges asked for then complete it."""
    size, held, closed = 20_000, (), 0

    def take(offset, length):
        nonlocal held
        here = known(sample, State.WANTED, payload_size=size, held=held)
        chunk = piece(sample, offset, b"x" * min(length, size - offset), payload_size=size)
        decision = decide.decide_chunk(chunk, here, POLICY)
        held = tuple(sorted((*held, *decision.pieces)))
        return decision

    for offset, length in crumbs:
        gaps = len(missing(held, Span(0, size)))
        take(offset, length)
        closed += max(0, gaps - len(missing(held, Span(0, size))))
    assert len(held) <= 16 + 4 + 2 + 40 + closed
    for gap in missing(held, Span(0, size)):
        for start in range(gap.offset, gap.end, 8192):
            take(start, min(8192, gap.end - start))
    assert merged(held) == (Span(0, size),)


@pytest.mark.parametrize(
    ("state", "changes", "cause"),
    [
        (None, {}, "unknown"),
        (State.STORED, {}, "settled"),
        (State.WANTED, {"payload_sha256": b"\0" * 32}, "other_payload"),
        (State.WANTED, {"payload_size": 9_999_999}, "other_payload"),
        (State.WANTED, {"crc32": 1}, "damaged"),
        (State.WANTED, {}, "repeat"),
    ],
)
def test_chunks_that_are_not_kept(sample, state, changes, cause):
    """Each way a chunk can be of no use, by name."""
    here = None if state is None else known(sample, state, held=(Span(0, 20),))
    decision = decide.decide_chunk(piece(sample, 0, b"x" * 10, **changes), here, POLICY)
    assert (decision.cause, decision.pieces, decision.complete) == (cause, (), False)


def test_a_chunk_of_a_settled_sample_gets_the_receipt_again(sample):
    """The first receipt may have been lost on the way."""
    reply = decide.decide_chunk(piece(sample, 0, b"x"), known(sample, State.STORED), POLICY).reply
    assert reply.outcome == "stored"


def test_damage_is_asked_for_again_and_then_rejected(sample):
    """Three damaged arrivals, by CRC or by SHA-256, end in `rejected`."""
    bad = piece(sample, 0, b"x" * 10, crc32=1)
    first = decide.decide_chunk(bad, known(sample, State.WANTED), POLICY)
    assert (first.failures, first.reply.ask) == (1, "want")
    third = decide.decide_chunk(bad, known(sample, State.WANTED, failures=2), POLICY)
    assert third.reject
    assert third.reply.outcome == "rejected"
    again = decide.judge_payload("a" * 32, 100, None, 1, POLICY)
    assert (again.state, again.reply.ask, again.failures) == (State.WANTED, "want", 2)
    end = decide.judge_payload("a" * 32, 100, None, 2, POLICY)
    assert (end.state, end.reply.outcome) == (State.REJECTED, "rejected")


def test_the_verdict_on_whole_pixels():
    """A picture is stored; bytes that are no picture are rejected at once."""
    good = decide.judge_payload("a" * 32, 100, Picture("image/png", 2, 2), 0, POLICY)
    assert good.reply == m.Settlement(sample_id="a" * 32, outcome="stored")
    bad = decide.judge_payload("a" * 32, 100, "truncated", 0, POLICY)
    assert bad.reply.outcome == "rejected"
    assert "truncated" in bad.reply.detail


spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: Span(*pair)), max_size=8
)


def covered(some):
    return {number for span in some for number in range(span.offset, span.end)}


@given(spans, st.integers(0, 40), st.integers(0, 25))
def test_ranges_agree_with_sets_of_bytes(some, offset, length):
    """`merged` and `missing` against plain sets of byte numbers; results sorted and apart."""
    within = Span(offset, offset + length)
    assert covered(merged(some)) == covered(some)
    assert covered(missing(some, within)) == set(range(offset, offset + length)) - covered(some)
    for result in (merged(some), missing(some, within)):
        assert all(span.offset < span.end for span in result)
        assert all(a.end < b.offset for a, b in pairwise(result))
