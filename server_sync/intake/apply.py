"""One message into the store, inside a transaction: what `decide` says, done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from server_sync.domain import Picture, SampleKey, State
from server_sync.intake import decide
from server_sync.intake.picture import PictureError, inspect
from server_sync.intake.salvage import salvage_offer
from server_sync.settings import IntakeSettings
from server_sync.store import (
    counters,
    descriptions,
    devices,
    parts,
    pictures,
    quarantine,
    under_way,
)
from server_sync.store.blobs import Blobs
from sync_protocol import codec, topics
from sync_protocol import messages as m

_WAIT_S = 30.0
FORGET_AT_ONCE = 200


@dataclass(slots=True)
class Applied:
    """What came of a message: replies, to be sent once the transaction is committed."""

    device: str | None = None
    replies: list[decide.Reply] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    heard: bool = False
    """Whether this is a sign of life of the device."""


class Intake:
    """Applies messages to a store. Holds nothing about any sample.

    Blobs are only staged: whoever commits flushes them first.
    """

    def __init__(self, settings: IntakeSettings, blobs: Blobs) -> None:
        self._settings = settings
        self._blobs = blobs
        self._policy = decide.Policy(
            accept=frozenset(settings.accept),
            attempts=settings.damaged_attempts,
            retry_after_s=settings.retry_after_s,
            wait_s=min(_WAIT_S, settings.retry_after_s),
        )
        self._cap = quarantine.Cap(settings.quarantine_rows, settings.quarantine_kb * 1000)

    def apply(
        self,
        connection: Connection,
        topic: str,
        payload: bytes,
        now_ms: int,
        *,
        room: bool,
        cut_from: int | None = None,
    ) -> Applied:
        """Take one message in; whatever it holds, it ends stored, ignored or quarantined.

        Args:
            now_ms: milliseconds since 1970, UTC.
            room: whether the disks have space left for pixels.
            cut_from: the message's size in bytes, where `payload` is but the head of one that is
                larger than its kind may be.

        Raises:
            sqlalchemy.exc.SQLAlchemyError, OSError: the store failed; roll back and try again.
        """
        applied = Applied()
        parsed = topics.parse(topic)
        if parsed is None or parsed.kind not in topics.FROM_DEVICE:
            self.set_aside(connection, topic, payload, "not a topic of ours", now_ms, cut_from)
            applied.counts["garbage"] += 1
        elif cut_from is not None:
            error = f"{cut_from} bytes are more than a message of this kind may have"
            self.set_aside(connection, topic, payload, error, now_ms, cut_from)
            applied.counts["garbage"] += 1
        else:
            applied.device = parsed.device
            step = _Step(connection, parsed.device, now_ms, room, applied)
            try:
                self._dispatch(step, parsed.kind, payload)
            except codec.ProtocolError as error:
                self._not_understood(step, parsed, payload, error)
        applied.counts["messages"] += 1
        applied.counts["message_bytes"] += len(payload) if cut_from is None else cut_from
        return applied

    def finish(self, connection: Connection, all_applied: Iterable[Applied], now_ms: int) -> None:
        """End a batch: what its messages have in common, written once.

        Last and in one order, because these rows are everybody's: a worker that held one of them
        while it waits for a sample's row would bring another to a standstill.
        """
        counts: Counter[str] = Counter()
        heard: set[str] = set()
        for applied in all_applied:
            counts.update(applied.counts)
            if applied.heard and applied.device is not None:
                heard.add(applied.device)
        for device in sorted(heard):
            devices.seen(connection, device, now_ms)
        counters.add(connection, counts)

    def forget(self, connection: Connection, now_ms: int) -> int:
        """Give up what was asked for too long ago, at most `FORGET_AT_ONCE`; how many."""
        before_ms = now_ms - self._settings.forget_wanted_days * 86_400_000
        return under_way.forget(connection, before_ms, FORGET_AT_ONCE)

    def set_aside(
        self,
        connection: Connection,
        topic: str,
        payload: bytes,
        error: str,
        now_ms: int,
        cut_from: int | None = None,
    ) -> None:
        """Keep the head of a message, or of what is left of it, in quarantine."""
        quarantine.add(connection, topic, payload, error, now_ms, self._cap, cut_from)

    def _dispatch(self, step: _Step, kind: topics.Kind, payload: bytes) -> None:
        match kind:
            case topics.Kind.OFFER:
                offer = codec.decode(payload, m.Offer)
                self._offered(step, offer.samples)
            case topics.Kind.CHUNK:
                self._chunk(step, codec.decode(payload, m.Chunk))
            case topics.Kind.STATUS:
                status = codec.decode(payload, m.Status)
                devices.status(step.connection, step.device, status, step.now_ms)
                step.applied.counts["statuses"] += 1
            case _:
                presence = codec.decode(payload, m.Presence)
                devices.presence(step.connection, step.device, presence, step.now_ms)
                step.applied.counts["presences"] += 1

    def _not_understood(
        self, step: _Step, topic: topics.Topic, payload: bytes, error: codec.ProtocolError
    ) -> None:
        self.set_aside(step.connection, str(topic), payload, str(error), step.now_ms)
        step.applied.counts["garbage"] += 1
        if topic.kind is topics.Kind.OFFER:
            salvaged = salvage_offer(payload)
            step.applied.replies.extend(salvaged.settlements)
            self._offered(step, salvaged.samples)

    def _offered(self, step: _Step, offered: tuple[m.SampleDescription, ...]) -> None:
        step.applied.heard = True
        step.applied.counts["offers"] += 1
        load = under_way.load(step.connection, step.device)
        for sample in offered:
            self._offered_one(step, sample, load)

    def _offered_one(self, step: _Step, sample: m.SampleDescription, load: under_way.Load) -> None:
        connection = step.connection
        key = SampleKey(step.device, sample.sample_id)
        facts = replace(
            self._facts(step, key, sample),
            full=load.count >= self._settings.device_samples
            or load.total_bytes + sample.payload_size > self._settings.device_mb * 1_000_000,
        )
        decision = decide.decide_offer(sample, facts, self._policy)
        known = facts.known
        if decision.restart and known is not None and known.held:
            parts.drop(connection, key)
        same = known is not None and known.payload_sha256 == sample.payload_sha256
        failures = known.failures if known is not None and same else 0
        if decision.write is not None:
            descriptions.describe(
                connection,
                step.device,
                sample,
                decision.write,
                decision.detail,
                step.now_ms,
                exists=known is not None,
                failures=failures,
            )
        if decision.write is State.WANTED and not decision.inline and not same:
            load.count += 1
            load.total_bytes += sample.payload_size
        if decision.reply is not None:
            step.applied.replies.append(decision.reply)
        if decision.inline and sample.payload is not None:
            self._judge(
                step, key, sample.payload, sample.payload_sha256, sample.payload_type, failures
            )
            if known is not None and known.held:
                parts.drop(connection, key)

    def _facts(self, step: _Step, key: SampleKey, sample: m.SampleDescription) -> decide.OfferFacts:
        connection = step.connection
        known = descriptions.known(connection, key)
        if known is not None and known.state not in (State.WANTED, State.UNSUPPORTED):
            return decide.OfferFacts(known=known, room=step.room)
        twin = pictures.twin(connection, sample.payload_sha256)
        if twin is not None and not self._blobs.has(sample.payload_sha256.hex()):
            twin = None  # a picture lost from disk comes back with the next device that has it
        alike = None
        if twin is None and known is None and sample.perceptual_hash is not None:
            scope = sample.survey if self._settings.near_duplicate_scope == "survey" else None
            bits = self._settings.near_duplicate_bits
            alike = pictures.alike(connection, sample.perceptual_hash, bits, scope)
        coming = None
        if twin is None and known is None:
            since_ms = step.now_ms - round(self._settings.twin_wait_s * 1000)
            coming = under_way.twin(connection, key, sample.payload_sha256, since_ms)
        return decide.OfferFacts(known, twin, alike, step.room, coming is not None)

    def _chunk(self, step: _Step, chunk: m.Chunk) -> None:
        key = SampleKey(step.device, chunk.sample_id)
        known = descriptions.known(step.connection, key)
        decision = decide.decide_chunk(chunk, known, self._policy, room=step.room)
        step.applied.counts[f"chunks_{decision.cause}"] += 1
        if decision.reply is not None:
            step.applied.replies.append(decision.reply)
        step.applied.heard = True
        if known is None:
            return
        if decision.reject:
            self._end(step, key, State.REJECTED, decision.reject, decision.failures)
        elif decision.failures != known.failures:
            descriptions.settle(
                step.connection, key, known.state, known.detail, decision.failures, step.now_ms
            )
        whole = chunk.data
        if not decision.alone:
            for piece in decision.pieces:
                data = chunk.data[piece.offset - chunk.offset : piece.end - chunk.offset]
                parts.add(step.connection, key, piece.offset, data)
            if decision.complete:
                whole = parts.assemble(step.connection, key)
        if decision.complete:
            self._judge(step, key, whole, known.payload_sha256, known.payload_type, known.failures)
        if known.held and (decision.complete or decision.reject):
            parts.drop(step.connection, key)

    def _judge(
        self,
        step: _Step,
        key: SampleKey,
        data: bytes,
        sha256: bytes,
        media_type: str,
        failures: int,
    ) -> None:
        picture = self._inspect(data, sha256, media_type)
        twin = None
        if isinstance(picture, Picture) and self._blobs.has(sha256.hex()):
            twin = pictures.twin(step.connection, sha256)
        verdict = decide.judge_payload(
            key.sample_id, len(data), picture, failures, self._policy, twin
        )
        step.applied.replies.append(verdict.reply)
        if isinstance(picture, Picture):
            self._keep(step, key, data, picture)
        elif isinstance(picture, str):
            self.set_aside(
                step.connection,
                str(topics.Topic(key.device, topics.Kind.CHUNK)),
                data,
                f"sample {key.sample_id}: {verdict.detail}",
                step.now_ms,
            )
        self._end(step, key, verdict.state, verdict.detail, verdict.failures)

    def _inspect(self, data: bytes, sha256: bytes, media_type: str) -> Picture | str | None:
        if not decide.is_intact(data, sha256):
            return None
        try:
            return inspect(data, media_type, self._settings.max_pixels)
        except PictureError as error:
            return str(error)

    def _keep(self, step: _Step, key: SampleKey, data: bytes, picture: Picture) -> None:
        sha256 = self._blobs.put(data)
        if pictures.twin(step.connection, bytes.fromhex(sha256)) is None:
            survey, phash = descriptions.look_of(step.connection, key)
            pictures.add(
                step.connection, key, sha256, len(data), picture, survey, phash, step.now_ms
            )
            step.applied.counts["picture_bytes"] += len(data)

    def _end(self, step: _Step, key: SampleKey, state: State, detail: str, failures: int) -> None:
        descriptions.settle(step.connection, key, state, detail, failures, step.now_ms)


@dataclass(frozen=True, slots=True)
class _Step:
    """One message on its way: its transaction, sender and time."""

    connection: Connection
    device: str
    now_ms: int
    room: bool
    applied: Applied
