"""The drift test at work over one survey, and what of it has to be written down."""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.scoring.drift import DriftState, DriftTest, Sighting, step


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
        self._news: list[str] = []

    @property
    def alarmed(self) -> bool:
        """Whether the survey was found to be foreign."""
        return self.state.alarm is not None

    def see(self, sighting: Sighting) -> bool:
        """Count one more valid tile, in the order of the survey; whether it raised the alarm."""
        before = self.alarmed
        self.state, closed = step(self.state, sighting, self._voted, self.test)
        self._voted.update(closed)
        self._news += closed
        return self.alarmed and not before

    def take_news(self) -> tuple[str, ...]:
        """Blocks that have voted since this was last asked."""
        news, self._news = tuple(self._news), []
        return news
