"""A tile's record in few bytes, and the description that goes to base."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.domain import Finding, Judged, Position, Reason, Verdict
from edge_agent.records.database import Database
from edge_agent.records.describe import Place, describe, encode_description
from edge_agent.records.facts import decode_facts, encode_facts
from edge_agent.records.lookup import find_tile
from edge_agent.records.values import Survey
from sync_protocol import codec
from sync_protocol.messages import OFFER_MAX_BYTES, Offer, SampleDescription

PLACE = Place("ab" * 16, 3, 4)
SURVEY = Survey(1, 1, "north field", "scenes@1", bytes(32), "abcdef", ("wood", "water", "roof"), 3)

texts = st.text(max_size=400) | st.just("\udce9 surrogate")
numbers = st.floats() | st.integers(-(2**70), 2**70) | st.booleans()
findings = st.builds(
    Finding,
    rule=texts,
    state=st.sampled_from(["ok", "flag", "unknown", "inactive"]),
    evidence=st.dictionaries(texts, numbers | texts, max_size=40),
)
reasons = st.builds(Reason, code=texts, numbers=st.dictionaries(texts, st.floats(), max_size=70))


class Vocabulary:
    """Words without a database."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def intern(self, text: str) -> int:
        if text not in self.words:
            self.words.append(text)
        return self.words.index(text)

    def text(self, number: int) -> str:
        return self.words[number]


def test_a_record_reads_back(build: ModuleType) -> None:
    """Scores and p-values in float32, probabilities to 1/65535, findings and reasons exactly."""
    finding = Finding("range", "flag", {"class": "oak", "z": 0.25, "n": 3, "alone": True})
    tile = build.judged(1, 2, findings=(finding, Finding("flicker", "unknown")))
    words = Vocabulary()
    facts = decode_facts(encode_facts(tile, words.intern), words.text)
    assert facts.findings == tile.findings
    assert facts.reasons == tile.verdict.reasons
    for found, given_ in ((facts.scores, tile.prediction.scores),
                          (facts.p_values, tile.prediction.p_values)):  # fmt: skip
        assert list(found) == list(given_)
        assert found == pytest.approx(given_, rel=1e-6)
    ranked = sorted(enumerate(tile.prediction.probabilities), key=lambda pair: -pair[1])
    shown = facts.probabilities
    assert [index for index, _ in shown] == [index for index, _ in ranked[: len(shown)]]
    assert sum(p for _, p in shown) >= 0.99 or len(shown) == 10
    assert [p for _, p in shown] == pytest.approx([p for _, p in ranked[: len(shown)]], abs=1e-4)


def test_a_tile_without_prediction_reads_back(build: ModuleType) -> None:
    """A tile that never reached the model has findings and a reason, and no numbers."""
    tile = dataclasses.replace(build.judged(0, keep=False), prediction=None)
    words = Vocabulary()
    facts = decode_facts(encode_facts(tile, words.intern), words.text)
    assert (facts.scores, facts.p_values, facts.probabilities) == ({}, {}, ())
    assert facts.findings == tile.findings


def test_the_typical_description_is_about_a_kilobyte(build: ModuleType) -> None:
    """Four scores, two findings, eight classes and a 128-component embedding; no padding."""
    description = describe(PLACE, SURVEY, build.frame(), build.judged(0))
    assert len(encode_description(description)) <= 1152


def test_the_embedding_survives_in_eight_bits(build: ModuleType) -> None:
    """Every component is off by at most half a step of 1/127 of the largest."""
    tile = build.judged(0)
    packed = describe(PLACE, SURVEY, build.frame(), tile).embedding
    assert packed is not None
    restored = np.frombuffer(packed.values, np.int8) * packed.scale
    largest = np.abs(tile.prediction.embedding).max()
    assert np.abs(restored - tile.prediction.embedding).max() <= largest / 127 / 2 + 1e-6


def test_odd_embeddings_are_left_out_or_zero(build: ModuleType) -> None:
    """Infinite or oversized vectors are not sent; a vector of zeros is one."""
    tile = build.judged(0)
    for vector, expected in (
        (np.array([1.0, np.inf], np.float32), None),
        (np.zeros(5000, np.float32), None),
        (np.zeros(3, np.float32), (b"\0\0\0", 0.0)),
        (np.full(2, 1e-45, np.float32), None),
    ):
        odd = dataclasses.replace(
            tile, prediction=dataclasses.replace(tile.prediction, embedding=vector)
        )
        description = describe(PLACE, SURVEY, build.frame(), odd)
        found = description.embedding
        codec.encode(Offer(samples=(description,)))
        if expected is not None:
            assert found is not None
            assert (found.values, found.scale) == expected
        elif vector.size != 2 or not np.isfinite(vector).all():
            assert found is None


@settings(max_examples=60, deadline=None)
@given(
    found=st.lists(findings, max_size=40),
    why=st.lists(reasons, min_size=1, max_size=40),
    value=st.floats(),
    quality=st.none() | st.floats(),
    scores=st.dictionaries(texts, st.floats(), max_size=80),
    name=texts,
    position=st.none() | st.builds(Position, st.floats(), st.floats(), st.none() | st.floats()),
)
def test_whatever_a_rule_says_fits_one_offer(
    build: ModuleType,
    found: list[Finding],
    why: list[Reason],
    value: float,
    quality: float | None,
    scores: dict[str, float],
    name: str,
    position: Position | None,
) -> None:
    """Endless texts, NaN, huge integers, odd names: the description is valid and small enough."""
    plain: Judged = build.judged(0)
    assert plain.prediction is not None
    tile = dataclasses.replace(
        plain,
        tile=dataclasses.replace(plain.tile, position=position),
        findings=tuple(found),
        quality=quality,
        prediction=dataclasses.replace(plain.prediction, scores=scores),
        verdict=Verdict(True, value, tuple(why), None),
    )
    frame = dataclasses.replace(build.frame(), name=name, captured_at=name)
    description = describe(PLACE, SURVEY, frame, tile)
    data = codec.encode(Offer(samples=(description,)))
    assert len(data) <= OFFER_MAX_BYTES - 2048
    (back,) = codec.decode(data, Offer).samples
    assert isinstance(back, SampleDescription)
    assert back.reasons[0].code[:100] == description.reasons[0].code[:100]
    words = Vocabulary()
    facts = decode_facts(encode_facts(tile, words.intern), words.text)
    assert len(facts.findings) == len(found)


def test_odd_numbers_are_recorded_too(database: Database, build: ModuleType) -> None:
    """NaN and infinity reach the ledger as they are, and never the offer."""
    tile = build.judged(0, value=math.nan)
    odd = {"msp": math.nan, "max_logit": 1e300, "entropy": -math.inf, "margin": 0.5}
    tile = dataclasses.replace(tile, prediction=dataclasses.replace(tile.prediction, scores=odd))
    (sample,) = build.commit(database, build.survey(database), [tile]).kept
    scores = find_tile(database, sample.sample_id).facts.scores
    assert math.isnan(scores["msp"])
    assert scores["max_logit"] == math.inf
    assert build.problems(database.connection) == []
