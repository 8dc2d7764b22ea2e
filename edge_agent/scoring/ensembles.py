"""Scores from the disagreement of an ensemble's members: (M, N, C) logits in, (N,) out."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.logits import Floats, softmax

ENSEMBLE_SCORES: Final = ("ensemble_entropy", "ensemble_mutual_information")


def member_probabilities(member_logits: npt.ArrayLike) -> Floats:
    """(M, N, C) softmax of each member."""
    logits = np.asarray(member_logits, dtype=np.float64)
    members, rows, classes = logits.shape
    return softmax(logits.reshape(members * rows, classes)).reshape(logits.shape)


def ensemble_entropy(member_logits: npt.ArrayLike) -> Floats:
    """Entropy in nats of the mean of the members' softmaxes, in [0, ln C].

    Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation
    using Deep Ensembles", NeurIPS 2017.
    """
    return entropy_of_mean(member_probabilities(member_logits))


def ensemble_mutual_information(member_logits: npt.ArrayLike) -> Floats:
    """Entropy of the mean softmax less the mean of the entropies, in nats, in [0, ln min(M, C)].

    Houlsby et al., "Bayesian Active Learning for Classification and Preference Learning", 2011;
    for ensembles Depeweg et al., ICML 2018. Computed as the mean divergence from the mean.
    """
    return mutual_information(member_probabilities(member_logits))


def mean_probabilities(probabilities: Floats) -> Floats:
    """(N, C) mean of (M, N, C) probabilities; of members that agree exactly theirs."""
    first = probabilities[0]
    return np.asarray(first + (probabilities - first).mean(axis=0))


def entropy_of_mean(probabilities: Floats) -> Floats:
    """`ensemble_entropy` from the members' (M, N, C) probabilities."""
    mean = mean_probabilities(probabilities)
    every, winner = np.arange(len(mean)), mean.argmax(axis=1)
    highest = mean[every, winner]
    mean[every, winner] = 0.0
    others = mean.sum(axis=1)
    terms = mean * np.log(mean, out=np.zeros_like(mean), where=mean > 0.0)
    # Near 1 the logarithm of the highest is that of one less the others, which is exact.
    own = highest * np.where(others < 0.5, np.log1p(-np.minimum(others, 0.5)), np.log(highest))
    return np.asarray(-(own + terms.sum(axis=1)))


def mutual_information(probabilities: Floats) -> Floats:
    """`ensemble_mutual_information` from the members' (M, N, C) probabilities.

    The mean over the members of sum_c q (r ln r - r + 1) with q the mean and r = p / q: no term is
    negative, so that members that nearly agree do not cancel to noise.
    """
    mean = mean_probabilities(probabilities)
    possible = np.broadcast_to(mean > 0.0, probabilities.shape)
    excess = np.divide(probabilities - mean, mean, out=np.zeros_like(probabilities), where=possible)
    return np.asarray((mean * _bend(excess)).sum(axis=2).mean(axis=0))


def _bend(excess: Floats) -> Floats:
    """(1 + x) ln(1 + x) - x for x >= -1, at least 0."""
    x = np.maximum(excess, -1.0)
    logarithm = np.log1p(x, out=np.zeros_like(x), where=x > -1.0)
    return np.maximum((1.0 + x) * logarithm - x, 0.0)
