"""The records as the filter sees them: one survey, its frames, its batches."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edge_agent.domain import Frame
from edge_agent.records.batch import JudgedTile, commit_batch
from edge_agent.records.database import Database
from edge_agent.records.ledger import (
    begin_frame,
    fail_frame,
    forget_try,
    frame_state,
    note_try,
)
from edge_agent.records.values import BatchResult, Caps, FileKey, FrameProgress, FrameRow, Survey
from edge_agent.scoring.survey_watch import DriftNews


class Recorder:
    """Writes what becomes of one survey's tiles."""

    def __init__(self, database: Database, survey: Survey, caps: Caps) -> None:
        self._database = database
        self._survey = survey
        self._caps = caps

    def begin_frame(
        self, file: FileKey, frame: Frame, tile_count: int, now: float, plan: str
    ) -> FrameRow:
        """Note that a frame was opened and how it is cut; how far it has come."""
        survey_id = self._survey.survey_id
        return begin_frame(self._database, survey_id, file, frame, tile_count, now, plan)

    def fail_frame(self, file: FileKey, reason: str, message: str, now: float) -> None:
        """Note why a file gave no tiles, or not all of them."""
        fail_frame(self._database, self._survey.survey_id, file, reason, message, now)

    def commit(
        self,
        judged: Sequence[JudgedTile],
        progress: Sequence[FrameProgress],
        now: float,
        drift: DriftNews | None = None,
    ) -> BatchResult:
        """Record a batch, and what it tells of the whole survey, in one transaction."""
        return commit_batch(self._database, self._survey, judged, progress, self._caps, now, drift)


class ReadingMemory:
    """What the reading thread asks and tells the records, over a connection of its own."""

    def __init__(self, database: Database, survey_id: int) -> None:
        self._database = database
        self._survey_id = survey_id
        self._reading: FileKey | None = None

    def known(self, file: FileKey) -> FrameRow | None:
        """How far the file has come, None if it is new."""
        return frame_state(self._database, self._survey_id, file)

    def trying(self, file: FileKey) -> int:
        """Note, for good, that the file is about to be opened; how often that led nowhere."""
        self._reading = file
        return note_try(self._database, self._survey_id, file, time.time())

    def survived(self, file: FileKey) -> None:
        """The file has been read to its end or to its fault: it kills nothing."""
        self._reading = None
        forget_try(self._database, self._survey_id, file)

    def let_go(self) -> None:
        """The run ends in good order: whatever ended it, it was none of the files tried."""
        if self._reading is not None:
            self.survived(self._reading)
