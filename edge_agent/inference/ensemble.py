"""Several members' outputs, and their last layers, as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.domain import Outputs
from edge_agent.inference.head_file import HeadArrays


def combine(members: Sequence[Outputs]) -> Outputs:
    """One model's outputs as they are; M members' as mean logits, side by side the rest.

    logits (N, C) are the mean of the members', features (N, sum of D) their embeddings side by
    side, None unless every member has one: with W = [W_1 ... W_M] / M and b = mean b_m the last
    layer still holds, logits = features W^T + b. member_logits (M, N, C) are in the bundle's
    order. A value that is not finite stays so in all of them: nothing averages it away.
    """
    if len(members) == 1:
        return members[0]
    logits = np.stack([member.logits for member in members])
    features = [member.features for member in members if member.features is not None]
    with np.errstate(invalid="ignore", over="ignore"):
        mean = logits.mean(axis=0, dtype=np.float64).astype(np.float32)
    whole = len(features) == len(members)
    return Outputs(mean, np.concatenate(features, axis=1) if whole else None, logits)


def combine_heads(heads: Sequence[HeadArrays]) -> HeadArrays:
    """The last layer of the whole: weight [W_1 ... W_M] / M (C, sum of D) and bias mean b_m."""
    weight = np.hstack([head.weight.astype(np.float64) for head in heads]) / len(heads)
    bias = np.stack([head.bias.astype(np.float64) for head in heads]).mean(axis=0)
    return HeadArrays(weight.astype(np.float32), np.asarray(bias, dtype=np.float32))
