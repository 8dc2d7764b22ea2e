"""What was found out about a tile, in few bytes: numbers in float32, words as numbers. Pure.

A record is a msgpack array: scores and p-values each as a word (their names, joined) and packed
float32; probabilities as pairs of class index and share of 65535; findings and reasons as arrays
of words and plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from edge_agent.domain import Finding, FindingState, Judged, Reason
from edge_agent.records.identity import storable

Intern = Callable[[str], int]
Word = Callable[[int], str]
Value = bool | int | float | str

MAX_CLASSES: Final = 10
KEPT_MASS: Final = 0.99
MAX_TEXT: Final = 256
_STATES: Final[tuple[FindingState, ...]] = ("ok", "flag", "unknown", "inactive")
_JOIN: Final = "\x1f"
_SHARE: Final = 65535


@dataclass(frozen=True, slots=True)
class Facts:
    """A record read back; numbers have float32 precision."""

    scores: Mapping[str, float]
    p_values: Mapping[str, float]
    probabilities: tuple[tuple[int, float], ...]
    """Class index and probability, most probable first, down to `KEPT_MASS` together."""
    findings: tuple[Finding, ...]
    reasons: tuple[Reason, ...]


class _Record(msgspec.Struct, array_like=True, frozen=True):
    score_names: int
    scores: bytes
    p_value_names: int
    p_values: bytes
    probabilities: bytes
    findings: list[list[Value]]
    reasons: list[list[Value]]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Record)


def encode_facts(judged: Judged, intern: Intern) -> bytes:
    """The record of a tile; `intern` gives a word's number."""
    prediction = judged.prediction
    scores = prediction.scores if prediction is not None else {}
    p_values = prediction.p_values if prediction is not None else {}
    return _encoder.encode(
        _Record(
            score_names=intern(_joined(scores)),
            scores=_packed(scores.values()),
            p_value_names=intern(_joined(p_values)),
            p_values=_packed(p_values.values()),
            probabilities=_packed_shares(most_probable(judged)),
            findings=[
                [intern(f.rule), _STATES.index(f.state), *_pairs(f.evidence, intern)]
                for f in judged.findings
            ],
            reasons=[[intern(r.code), *_pairs(r.numbers, intern)] for r in judged.verdict.reasons],
        )
    )


def decode_facts(data: bytes, word: Word) -> Facts:
    """Read a record back.

    Raises:
        ValueError: it is no such record.
        KeyError: a word is not known.
    """
    record = _decoder.decode(data)
    shares = np.frombuffer(record.probabilities, dtype="<u2").reshape(-1, 2)
    return Facts(
        scores=_named(record.score_names, record.scores, word),
        p_values=_named(record.p_value_names, record.p_values, word),
        probabilities=tuple((int(index), int(share) / _SHARE) for index, share in shares),
        findings=tuple(
            Finding(word(int(row[0])), _STATES[int(row[1])], _unpaired(row[2:], word))
            for row in record.findings
        ),
        reasons=tuple(
            Reason(word(int(row[0])), {k: float(v) for k, v in _unpaired(row[1:], word).items()})
            for row in record.reasons
        ),
    )


def most_probable(judged: Judged) -> list[tuple[int, float]]:
    """Class index and probability, until `KEPT_MASS` or `MAX_CLASSES` is reached."""
    if judged.prediction is None:
        return []
    probabilities = judged.prediction.probabilities
    order = np.argsort(-probabilities, kind="stable")[:MAX_CLASSES]
    found: list[tuple[int, float]] = []
    mass = 0.0
    for index in order.tolist():
        if mass >= KEPT_MASS:
            break
        probability = float(probabilities[index])
        found.append((index, probability))
        mass += probability
    return found


def _joined(names: Iterable[str]) -> str:
    return _JOIN.join(storable(name).replace(_JOIN, " ") for name in names)


def _packed(numbers: Iterable[float]) -> bytes:
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and as strange
        return np.fromiter(numbers, dtype=np.float64).astype("<f4").tobytes()


def _packed_shares(pairs: list[tuple[int, float]]) -> bytes:
    rows = [(index, round(min(max(share, 0.0), 1.0) * _SHARE)) for index, share in pairs]
    return np.array(rows, dtype="<u2").tobytes()


def _named(names: int, packed: bytes, word: Word) -> dict[str, float]:
    keys = word(names).split(_JOIN) if packed else []
    return dict(zip(keys, np.frombuffer(packed, dtype="<f4").tolist(), strict=True))


def _pairs(numbers: Mapping[str, Value], intern: Intern) -> list[Value]:
    flat: list[Value] = []
    for name, value in numbers.items():
        flat += [intern(name), _plain(value)]
    return flat


def _unpaired(flat: list[Value], word: Word) -> dict[str, Value]:
    return {word(int(name)): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _plain(value: Value) -> Value:
    """As msgpack can hold it, and no longer than it is worth."""
    if isinstance(value, str):
        text = storable(value)
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value) if -(2**63) <= value < 2**63 else float(value)
    return float(value)
