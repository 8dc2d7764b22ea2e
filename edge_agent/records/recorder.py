"""The records as the filter sees them: one survey, its frames, its batches."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.domain import Frame
from edge_agent.records.batch import JudgedTile, commit_batch
from edge_agent.records.database import Database
from edge_agent.records.ledger import begin_frame, fail_frame
from edge_agent.records.values import BatchResult, Caps, FileKey, FrameProgress, FrameRow, Survey


class Recorder:
    """Writes what becomes of one survey's tiles."""

    def __init__(self, database: Database, survey: Survey, caps: Caps) -> None:
        self._database = database
        self._survey = survey
        self._caps = caps

    def begin_frame(self, file: FileKey, frame: Frame, tile_count: int, now: float) -> FrameRow:
        """Note that a frame was opened; how far it has come."""
        survey_id = self._survey.survey_id
        return begin_frame(self._database, survey_id, file, frame, tile_count, now)

    def fail_frame(self, file: FileKey, reason: str, message: str, now: float) -> None:
        """Note why a file gave no tiles, or not all of them."""
        fail_frame(self._database, self._survey.survey_id, file, reason, message, now)

    def commit(
        self, judged: Sequence[JudgedTile], progress: Sequence[FrameProgress], now: float
    ) -> BatchResult:
        """Record a batch in one transaction."""
        return commit_batch(self._database, self._survey, judged, progress, self._caps, now)
