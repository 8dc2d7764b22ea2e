"""Samples to send, and a small base that answers as the real one does."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from edge_agent.uplink.events import Candidate
from sync_protocol.messages import (
    Answer,
    ByteRange,
    Chunk,
    Offer,
    Receipt,
    SampleDescription,
    Settlement,
    Want,
)


def make_pixels(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def make_sample(number: int, size: int, **more: object) -> SampleDescription:
    """Description of the sample whose pixels are `make_pixels(number, size)`."""
    fields: dict[str, object] = {
        "sample_id": f"{number:032x}",
        "boot": 1,
        "sequence": number,
        "survey": "north field",
        "frame": f"DJI_{number:04d}.JPG",
        "row": 0,
        "column": 256 * number,
        "width": 256,
        "height": 256,
        "bundle": "scenes-aerial@1.0.0",
        "bundle_sha256": bytes(32),
        "policy": "0123abcd",
        "value": 0.5,
        "payload_sha256": hashlib.sha256(make_pixels(number, size)).digest(),
        "payload_size": size,
        "payload_type": "image/jpeg",
    }
    return SampleDescription(**{**fields, **more})


@dataclass
class FakeBase:
    """Keeps pixels in memory: answers every offered sample, settles what is whole."""

    held: dict[str, dict[int, bytes]] = field(default_factory=dict)
    described: dict[str, SampleDescription] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    times_stored: dict[str, int] = field(default_factory=dict)
    chunk_bytes: int = 0
    repeated_bytes: int = 0
    inline_bytes: int = 0

    def offer(self, offer: Offer) -> list[Want | Receipt]:
        answers, settlements = [], []
        for sample in offer.samples:
            if sample.sample_id in self.stored:
                outcome = Settlement(sample_id=sample.sample_id, outcome="duplicate")
                settlements.append(outcome)
            elif sample.payload is not None:
                self.inline_bytes += len(sample.payload)
                settlements.append(self._store(sample, sample.payload))
            else:
                self.described[sample.sample_id] = sample
                answers.append(
                    Answer(sample_id=sample.sample_id, ask="want", missing=self.missing(sample))
                )
        messages: list[Want | Receipt] = []
        if settlements:
            messages.append(Receipt(settlements=tuple(settlements)))
        if answers:
            messages.append(Want(answers=tuple(answers)))
        return messages

    def chunk(self, chunk: Chunk) -> list[Want | Receipt]:
        assert zlib.crc32(chunk.data) == chunk.crc32
        sample = self.described.get(chunk.sample_id)
        if sample is None or chunk.sample_id in self.stored:
            self.repeated_bytes += len(chunk.data)
            return []
        pieces = self.held.setdefault(chunk.sample_id, {})
        whole = bytearray(sample.payload_size)
        for offset, data in pieces.items():
            whole[offset : offset + len(data)] = data
        before = sum(part.end - part.offset for part in self.missing(sample))
        pieces[chunk.offset] = max(pieces.get(chunk.offset, b""), chunk.data, key=len)
        whole[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data
        missing = self.missing(sample)
        gained = before - sum(part.end - part.offset for part in missing)
        self.chunk_bytes += len(chunk.data)
        self.repeated_bytes += len(chunk.data) - gained
        if missing:
            return []
        return [Receipt(settlements=(self._store(sample, bytes(whole)),))]

    def missing(self, sample: SampleDescription) -> tuple[ByteRange, ...]:
        gaps, position = [], 0
        for offset, data in sorted(self.held.get(sample.sample_id, {}).items()):
            if offset > position:
                gaps.append(ByteRange(offset=position, end=offset))
            position = max(position, offset + len(data))
        if position < sample.payload_size:
            gaps.append(ByteRange(offset=position, end=sample.payload_size))
        return tuple(gaps)

    def _store(self, sample: SampleDescription, pixels: bytes) -> Settlement:
        assert hashlib.sha256(pixels).digest() == sample.payload_sha256
        self.stored[sample.sample_id] = pixels
        self.times_stored[sample.sample_id] = self.times_stored.get(sample.sample_id, 0) + 1
        return Settlement(sample_id=sample.sample_id, outcome="stored")


@pytest.fixture(scope="session")
def sample() -> Callable[..., SampleDescription]:
    """Makes the description of a numbered sample."""
    return make_sample


@pytest.fixture(scope="session")
def pixels() -> Callable[[int, int], bytes]:
    """Makes the pixels of a numbered sample."""
    return make_pixels


@pytest.fixture(scope="session")
def candidate() -> Callable[..., Candidate]:
    """Makes a numbered sample as the exchange is given it."""

    def make(number: int, size: int = 20_000, attempts: int = 0, inline: bool = False) -> Candidate:
        return Candidate(
            description=make_sample(number, size),
            priority=1.0 / number,
            attempts=attempts,
            inline=make_pixels(number, size) if inline else None,
        )

    return make


@pytest.fixture(scope="session")
def fake_base() -> Iterator[type[FakeBase]]:
    """The class; a property test wants a new one per example."""
    return FakeBase
