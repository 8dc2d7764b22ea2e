"""What to store of a message and what to answer, from the message and what the store knows. Pure.

Rules that hold whatever the order and number of messages: a sample id stands for one payload for
ever; an end is never left again, only told again; pixels once asked for stay asked for.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Literal

from server_sync.domain import Alike, KnownSample, Picture, SampleKey, Span, State
from server_sync.ranges import merged, missing
from sync_protocol import messages as m

MAX_RANGES_IN_ANSWER = 64
"""So that 64 answers stay far below a message's limit; the next offer asks for the rest."""

SPARE_PIECES = 16
"""So many pieces beyond a payload's fair share may be held; then small ones must close a gap."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What base accepts."""

    accept: frozenset[str] = frozenset({"image/jpeg", "image/webp", "image/png"})
    """Media types."""
    attempts: int = 3
    """How often pixels may arrive damaged before the sample is rejected."""
    retry_after_s: float = 300.0
    """What a device is told while there is no room."""
    wait_s: float = 30.0
    """What it is told while enough of its pixels, or the same from elsewhere, are under way."""


@dataclass(frozen=True, slots=True)
class OfferFacts:
    """What the store knows that bears on one offered sample."""

    known: KnownSample | None = None
    twin: SampleKey | None = None
    """Whose picture has the very bytes offered."""
    alike: Alike | None = None
    room: bool = True
    """Whether the disk has space left for pixels."""
    coming: bool = False
    """Whether another sample with the very bytes offered was asked for a short while ago."""
    full: bool = False
    """Whether enough was asked of this device already."""


Reply = m.Settlement | m.Answer


@dataclass(frozen=True, slots=True)
class OfferDecision:
    """What to do about one offered sample."""

    write: State | None = None
    """Write the description down in this state; None writes nothing."""
    detail: str = ""
    restart: bool = False
    """Forget what was received of other pixels under this id."""
    inline: bool = False
    """The offer carries all the pixels: judge them (`judge_payload`); that gives the reply."""
    reply: Reply | None = None


def decide_offer(sample: m.SampleDescription, facts: OfferFacts, policy: Policy) -> OfferDecision:
    """What to store and answer for one sample of an offer."""
    known = facts.known
    same = known is not None and known.payload_sha256 == sample.payload_sha256
    if known is not None and known.state is not State.WANTED:
        if not same:
            detail = "this sample id already stands for other pixels"
            return OfferDecision(reply=_settled(sample.sample_id, State.REJECTED, detail))
        if known.state is not State.UNSUPPORTED or sample.payload_type not in policy.accept:
            return OfferDecision(reply=_settled(sample.sample_id, known.state, known.detail))
    if sample.payload_type not in policy.accept:
        detail = f"this base takes no {sample.payload_type}"
        return _end(sample, State.UNSUPPORTED, detail)
    if facts.twin is not None:
        detail = f"the same bytes as {facts.twin.device}/{facts.twin.sample_id}"
        return _end(sample, State.DUPLICATE, detail)
    asked = known is not None and known.state is State.WANTED
    if facts.alike is not None and not asked:
        other = facts.alike
        detail = f"alike {other.key.device}/{other.key.sample_id}, {other.bits} of 64 bits differ"
        return _end(sample, State.SKIPPED, detail)
    if not facts.room:
        return OfferDecision(reply=later(sample.sample_id, policy))
    restart = asked and not same
    if sample.payload is not None and len(sample.payload) == sample.payload_size:
        return OfferDecision(write=State.WANTED, restart=restart, inline=True)
    if (facts.coming or facts.full) and not (asked and same):
        return OfferDecision(reply=_later(sample.sample_id, policy.wait_s))
    held = known.held if known is not None and same else ()
    return OfferDecision(
        write=State.WANTED,
        restart=restart,
        reply=want(sample.sample_id, held, sample.payload_size),
    )


@dataclass(frozen=True, slots=True)
class ChunkDecision:
    """What to do with one chunk."""

    cause: Literal[
        "kept",
        "repeat",
        "unknown",
        "settled",
        "other_payload",
        "damaged",
        "no_room",
        "too_small",
    ]
    pieces: tuple[Span, ...] = ()
    """The byte ranges of the payload to keep from this chunk: only what was missing."""
    complete: bool = False
    """With these pieces the payload is whole: judge it."""
    alone: bool = False
    """This chunk is the whole payload: there is nothing to put together."""
    failures: int = 0
    """The sample's new count of damaged arrivals."""
    reject: str = ""
    """Not empty: the sample ends as rejected, and why."""
    reply: Reply | None = None


def decide_chunk(
    chunk: m.Chunk, known: KnownSample | None, policy: Policy, *, room: bool = True
) -> ChunkDecision:
    """What to store and answer for one chunk."""
    if known is None:
        return ChunkDecision("unknown")
    if known.payload_sha256 != chunk.payload_sha256 or known.payload_size != chunk.payload_size:
        return ChunkDecision("other_payload", failures=known.failures)
    if known.state is not State.WANTED:
        reply = _settled(chunk.sample_id, known.state, known.detail)
        return ChunkDecision("settled", failures=known.failures, reply=reply)
    if zlib.crc32(chunk.data) != chunk.crc32:
        return _damaged_chunk(chunk, known, policy)
    if not room:
        return ChunkDecision(
            "no_room", failures=known.failures, reply=later(chunk.sample_id, policy)
        )
    end = chunk.offset + len(chunk.data)
    pieces = missing(known.held, Span(chunk.offset, end))
    if not pieces:
        return ChunkDecision("repeat", failures=known.failures)
    pieces = _worth_keeping(pieces, known)
    if not pieces:
        return ChunkDecision("too_small", failures=known.failures)
    whole = Span(0, known.payload_size)
    complete = merged((*known.held, *pieces)) == (whole,)
    return ChunkDecision(
        "kept",
        pieces=pieces,
        complete=complete,
        alone=pieces == (whole,),
        failures=known.failures,
    )


def _worth_keeping(pieces: tuple[Span, ...], known: KnownSample) -> tuple[Span, ...]:
    """Without the crumbs: each piece is a row that is read again with every later chunk.

    A whole range that was missing, the payload's tail, and what is as long as a chunk should be is
    always kept. Anything smaller only while there are few pieces: chunks that change places on the
    way leave such ones, a device that sends a payload byte by byte leaves millions.
    """
    whole = Span(0, known.payload_size)
    if len(known.held) < SPARE_PIECES + 2 * known.payload_size // m.CHUNK_MIN_DATA:
        return pieces
    gaps = missing(known.held, whole)
    return tuple(
        piece
        for piece in pieces
        if piece.end - piece.offset >= m.CHUNK_MIN_DATA or piece.end == whole.end or piece in gaps
    )


def _damaged_chunk(chunk: m.Chunk, known: KnownSample, policy: Policy) -> ChunkDecision:
    failures = known.failures + 1
    if failures >= policy.attempts:
        detail = f"pixels arrived damaged {failures} times"
        return ChunkDecision(
            "damaged",
            failures=failures,
            reject=detail,
            reply=_settled(chunk.sample_id, State.REJECTED, detail),
        )
    reply = want(chunk.sample_id, known.held, known.payload_size)
    return ChunkDecision("damaged", failures=failures, reply=reply)


@dataclass(frozen=True, slots=True)
class PayloadVerdict:
    """What becomes of a payload that arrived whole."""

    state: State
    """STORED, DUPLICATE, WANTED (once more) or REJECTED."""
    detail: str
    failures: int
    reply: Reply


def is_intact(data: bytes, expected_sha256: bytes) -> bool:
    """Whether the bytes are the ones the device described."""
    return hashlib.sha256(data).digest() == expected_sha256


def judge_payload(
    sample_id: str,
    size: int,
    picture: Picture | str | None,
    failures: int,
    policy: Policy,
    twin: SampleKey | None = None,
) -> PayloadVerdict:
    """The verdict on whole pixels.

    Args:
        picture: what they decoded to; in words why they do not decode; None when their SHA-256
            is not the one described.
        twin: another sample whose picture, held meanwhile, has the same bytes.
    """
    if isinstance(picture, Picture) and twin is not None:
        detail = f"the same bytes as {twin.device}/{twin.sample_id}"
        reply = _settled(sample_id, State.DUPLICATE, detail)
        return PayloadVerdict(State.DUPLICATE, detail, failures, reply)
    if isinstance(picture, Picture):
        reply = _settled(sample_id, State.STORED, "")
        return PayloadVerdict(State.STORED, "", failures, reply)
    if isinstance(picture, str):
        # The bytes are what the device meant to send, so sending them again mends nothing.
        detail = f"not a usable picture: {picture}"
        reply = _settled(sample_id, State.REJECTED, detail)
        return PayloadVerdict(State.REJECTED, detail, failures, reply)
    failures += 1
    if failures >= policy.attempts:
        detail = f"pixels arrived damaged {failures} times"
        reply = _settled(sample_id, State.REJECTED, detail)
        return PayloadVerdict(State.REJECTED, detail, failures, reply)
    return PayloadVerdict(State.WANTED, "", failures, want(sample_id, (), size))


def want(sample_id: str, held: tuple[Span, ...], size: int) -> m.Answer:
    """Ask for all that is not held."""
    gaps = missing(held, Span(0, size))[:MAX_RANGES_IN_ANSWER]
    ranges = tuple(m.ByteRange(offset=gap.offset, end=gap.end) for gap in gaps)
    return m.Answer(sample_id=sample_id, ask="want", missing=ranges)


def later(sample_id: str, policy: Policy) -> m.Answer:
    """Ask to be asked again."""
    return _later(sample_id, policy.retry_after_s)


def _later(sample_id: str, wait_s: float) -> m.Answer:
    return m.Answer(sample_id=sample_id, ask="later", retry_after_s=wait_s)


def _end(sample: m.SampleDescription, state: State, detail: str) -> OfferDecision:
    return OfferDecision(
        write=state, detail=detail, restart=True, reply=_settled(sample.sample_id, state, detail)
    )


def _settled(sample_id: str, state: State, detail: str) -> m.Settlement:
    outcome: m.Outcome
    match state:
        case State.STORED:
            outcome = "stored"
        case State.DUPLICATE:
            outcome = "duplicate"
        case State.SKIPPED:
            outcome = "skipped"
        case State.UNSUPPORTED:
            outcome = "unsupported"
        case State.REJECTED:
            outcome = "rejected"
        case State.WANTED:
            raise ValueError("a wanted sample has no end to tell")
    return m.Settlement(sample_id=sample_id, outcome=outcome, detail=detail[:1024])
