"""Scores from logits alone: (N, C) in, (N,) float64 out, higher = more out-of-distribution.

All work in float64 on logits shifted by their maximum, so that magnitudes up to 1e30 lose nothing,
and with the most probable class kept apart from the others, so that neither 1 - p nor a logarithm
near 1 cancels. A logit of -inf is legal, a class of probability zero. Rows that hold NaN, +inf, or
-inf alone say nothing: `usable_rows` tells them apart, and the scores of such rows are undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """(N, C) logits taken apart, once for all scores; made by `taken_apart`."""

    rows: Floats
    """(N, C) the logits themselves."""
    winner: npt.NDArray[np.intp]
    """(N,) class of the highest logit, the first of several."""
    highest: Floats
    """(N,) its logit."""
    rest: Floats
    """(N, C) logits less the highest, -inf at the winner."""
    weights: Floats
    """(N, C) exp(rest): probabilities in units of the winner's, 0 at the winner."""
    others: Floats
    """(N,) sum of the weights; the winner's probability is 1 / (1 + others)."""
    second: Floats
    """(N,) highest of the rest, -inf with one class."""


Logits: TypeAlias = npt.ArrayLike | Apart
Score: TypeAlias = Callable[[Logits], Floats]


def usable_rows(logits: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(N,) bool: rows without NaN or +inf and with at least one finite logit."""
    rows = np.asarray(logits)
    forbidden = np.isnan(rows) | np.isposinf(rows)
    return np.asarray(~forbidden.any(axis=1) & np.isfinite(rows).any(axis=1))


def taken_apart(logits: Logits) -> Apart:
    """(N, C) logits as all scores use them; every score takes the result in their place."""
    if isinstance(logits, Apart):
        return logits
    # In rows: sums round by the layout, and equal tiles have to tie.
    rows = np.asarray(logits, dtype=np.float64, order="C")
    winner = rows.argmax(axis=1)
    every = np.arange(len(rows))
    highest = rows[every, winner]
    # Overflow to -inf is right: such a class has probability zero. Unusable rows become NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        rest = rows - highest[:, None]
    rest[every, winner] = -np.inf
    weights = np.exp(rest)
    return Apart(
        rows, winner, highest, rest, weights, weights.sum(axis=1), rest.max(axis=1, initial=-np.inf)
    )


def softmax(logits: Logits) -> Floats:
    """(N, C) class probabilities; each row sums to 1."""
    apart = taken_apart(logits)
    probabilities = apart.weights.copy()
    probabilities[np.arange(len(probabilities)), apart.winner] = 1.0
    probabilities /= (1.0 + apart.others)[:, None]
    return probabilities


def msp(logits: Logits) -> Floats:
    """Minus the maximum softmax probability, in [-1, -1/C].

    Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks", ICLR 2017.
    """
    return np.asarray(-1.0 / (1.0 + taken_apart(logits).others))


def max_logit(logits: Logits) -> Floats:
    """Minus the maximum logit, in the units of the logits.

    Vaze et al., "Open-Set Recognition: A Good Closed-Set Classifier Is All You Need?", ICLR 2022.
    """
    return np.asarray(-taken_apart(logits).highest)


def entropy(logits: Logits) -> Floats:
    """Shannon entropy of the softmax in nats, in [0, ln C].

    Shannon, "A Mathematical Theory of Communication", 1948; as a score of novelty Lakshminarayanan
    et al., NeurIPS 2017.
    """
    apart = taken_apart(logits)
    # 0 * -inf is a class of probability zero: it adds nothing.
    terms = np.multiply(
        apart.weights, apart.rest, out=np.zeros_like(apart.weights), where=apart.weights > 0
    )
    return np.asarray(np.log1p(apart.others) - terms.sum(axis=1) / (1.0 + apart.others))


def margin(logits: Logits) -> Floats:
    """Minus the difference between the two highest probabilities, in [-1, 0].

    Scheffer, Decomain and Wrobel, "Active Hidden Markov Models for Information Extraction",
    IDA 2001. With one class the runner-up has probability 0.
    """
    apart = taken_apart(logits)
    return np.asarray(np.expm1(apart.second) / (1.0 + apart.others))


def energy(logits: Logits) -> Floats:
    """Minus logsumexp of the logits, in their units (nats): free energy at temperature 1.

    Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection", NeurIPS 2020.
    """
    apart = taken_apart(logits)
    return np.asarray(-(apart.highest + np.log1p(apart.others)))


def gen(logits: Logits, power: float = 0.1, classes: int = 10) -> Floats:
    """Generalised entropy, sum of (p (1 - p))^power over the `classes` most probable, >= 0.

    Liu, Lochman and Zach, "GEN: Pushing the Limits of Softmax-Based Out-of-Distribution
    Detection", CVPR 2023, as the paper's entropy itself, so that higher is stranger. Works on
    ln p and ln(1 - p), the latter the logarithm of the sum of the other probabilities: a power of
    0.1 makes 1e-300 count. With one class it is 0.

    Raises:
        ValueError: a power that is not positive, or no classes.
    """
    if not power > 0 or classes < 1:
        raise ValueError(f"gen needs power > 0 and classes >= 1, not {power} and {classes}")
    apart = taken_apart(logits)
    log_total = np.log1p(apart.others)
    rest = apart.rest
    if classes - 1 < rest.shape[1]:
        rest = np.partition(rest, rest.shape[1] - classes, axis=1)[:, rest.shape[1] - classes + 1 :]
    # 1 - p of another class holds the winner's share: 1 + others - its own, never near zero.
    log_other = np.log1p(apart.others[:, None] - np.exp(rest)) - log_total[:, None]
    terms = np.exp(power * (rest - log_total[:, None] + log_other))
    return np.asarray(np.exp(power * (_log_others(apart) - 2.0 * log_total)) + terms.sum(axis=1))


LOGIT_SCORES: Final[Mapping[str, Score]] = MappingProxyType(
    {
        "msp": msp,
        "max_logit": max_logit,
        "entropy": entropy,
        "margin": margin,
        "energy": energy,
        "gen": gen,
    }
)


def logit_scores(
    logits: Logits, *, gen_power: float = 0.1, gen_classes: int = 10
) -> dict[str, Floats]:
    """Every score of this module by name, each (N,)."""
    apart = taken_apart(logits)
    return {
        name: gen(apart, gen_power, gen_classes) if score is gen else score(apart)
        for name, score in LOGIT_SCORES.items()
    }


def _log_others(apart: Apart) -> Floats:
    """(N,) logarithm of `others`, which may underflow where its logarithm does not."""
    start = np.where(np.isneginf(apart.second), 0.0, apart.second)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(start + np.log(np.exp(apart.rest - start[:, None]).sum(axis=1)))
