"""The watch over whether a survey is foreign: from settings, calibration and what was recorded."""

from __future__ import annotations

import logging

import numpy as np

from edge_agent.foreign import ForeignGround
from edge_agent.novelty.leaders import Leaders, calibrated_epsilon, leaders_for
from edge_agent.records.database import Database
from edge_agent.records.drift import DriftMemory, forget_older_runs, read_drift
from edge_agent.scoring.calibration import OOD, Calibration
from edge_agent.scoring.drift import LEVEL, DriftTest, familiar_share
from edge_agent.scoring.ensembles import ENSEMBLE_SCORES
from edge_agent.scoring.logits import LOGIT_SCORES
from edge_agent.scoring.survey_watch import SurveyWatch
from edge_agent.selection.policy import PolicySettings

_log = logging.getLogger(__name__)


def foreign_ground(
    database: Database, run_id: int, calibration: Calibration | None, policy: PolicySettings
) -> ForeignGround | None:
    """The watch as an earlier start of the run left it; None where the policy asks for none."""
    forget_older_runs(database, run_id)
    if policy.foreign_alarm == 0.0:
        return None
    if calibration is None:
        return ForeignGround(None, None, 0.0, inactive="the bundle has no calibration")
    try:
        test = drift_test(calibration, policy)
    except ValueError as error:
        _log.warning("whether the survey is foreign is not tested: %s", error)
        return ForeignGround(None, None, 0.0, inactive=str(error))
    memory = read_drift(database, run_id)
    features = calibration.familiar.outputs.features
    watch = SurveyWatch(test, memory.state, memory.blocks)
    shown = not {*LOGIT_SCORES, *ENSEMBLE_SCORES}.issuperset(calibration.score_names)
    if features is None or not shown:  # by the bundle, whatever the calibration knows
        return ForeignGround(watch, None, 0.0)
    capacity = leaders_for(features.shape[1])
    leaders = _leaders(memory, features.shape[1], capacity)
    return ForeignGround(watch, leaders, calibrated_epsilon(features), capacity)


def drift_test(calibration: Calibration, policy: PolicySettings) -> DriftTest:
    """What the calibration lets us test.

    A false alarm comes of an unlucky survey or of an unlucky calibration: each gets half of what
    the policy allows.

    Raises:
        ValueError: it has too few tiles for any tile to be strange.
    """
    table = calibration.fusion.table
    reached = calibration.smallest_p(OOD) <= LEVEL + 1e-12
    share = familiar_share(
        len(table) - 1,
        int(np.count_nonzero(table <= LEVEL + 1e-12)) if reached else 0,
        slack=policy.foreign_slack,
        risk=policy.foreign_alarm / 2,
        level=LEVEL,
    )
    return DriftTest(share, policy.foreign_alarm / 2, policy.foreign_block_m)


def _leaders(memory: DriftMemory, dimension: int, capacity: int) -> Leaders:
    leaders = Leaders(dimension, capacity)
    for address, vector in memory.leaders:
        if vector.shape == (dimension,):
            leaders.add(address, vector)
    return leaders
