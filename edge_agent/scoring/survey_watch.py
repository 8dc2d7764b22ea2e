"""The drift test at work over one survey, and what of it has to be written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_agent.scoring.drift import Alarm, DriftState, DriftTest, Sighting, step


@dataclass(frozen=True, slots=True)
class DriftNews:
    """What a batch of tiles adds to what is known of the whole survey."""

    state: DriftState
    """Of the test after the batch."""
    familiar_share: float
    """The test's."""
    inactive: str = ""
    """Why nothing can be tested, empty where it can."""
    blocks: tuple[str, ...] = ()
    """Those that voted."""
    raised: Alarm | None = None
    """The alarm, if this batch raised it."""
    leaders: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    """Address -> (D,) embedding of the tiles kept in this batch, in their order."""
    leader_capacity: int = 0
    """How many are remembered; 0 where no embedding tells which tiles are alike."""


class SurveyWatch:
    """Shows one tile after the other to the test.

    What it knows is `state` and the blocks that have voted: hand both to another watch, and that
    one goes on as if there had been no break.
    """

    def __init__(
        self, test: DriftTest, state: DriftState | None = None, voted: Iterable[str] = ()
    ) -> None:
        self.test = test
        self.state = state or DriftState()
        self._voted = set(voted)
        self._blocks: list[str] = []
        self._raised: Alarm | None = None

    @property
    def alarmed(self) -> bool:
        """Whether the survey was found to be foreign."""
        return self.state.alarm is not None

    def see(self, sighting: Sighting) -> None:
        """Count one more valid tile, in the order of the survey."""
        before = self.alarmed
        self.state, closed = step(self.state, sighting, self._voted, self.test)
        self._voted.update(closed)
        self._blocks += closed
        if self.alarmed and not before:
            self._raised = self.state.alarm

    def take_news(self) -> DriftNews:
        """The state, and what was added to it since this was last asked."""
        news = DriftNews(
            self.state, self.test.familiar_share, blocks=tuple(self._blocks), raised=self._raised
        )
        self._blocks, self._raised = [], None
        return news


def alarm_in_words(alarm: Alarm, news: DriftNews) -> str:
    """What to tell the operator of an alarm among the news."""
    if news.leader_capacity:
        kept = "a strange tile is kept only if it is unlike all that were kept"
    else:
        kept = "only a drawn share of the strange tiles is kept: no embedding tells which are alike"
    return (
        f"the survey is foreign to the model: {alarm.strange} of {alarm.tiles} tiles are strange, "
        f"by {alarm.votes} votes at least {alarm.at_least:.1%} of the ground where familiar ground "
        f"has up to {news.familiar_share:.1%}; from here on {kept}"
    )
