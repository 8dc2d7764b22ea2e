"""The first loop: imagery -> tiles -> verdicts -> ledger and outbox.

Three threads hand batches on: one reads and examines tiles, one runs the model, this one decides
and commits, so that a batch is written while the model looks at the next. Decisions are made in
order and in one place. What is committed is never done again: after a power cut the filter goes
on with the first tile that is not recorded.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from edge_agent.domain import Frame, Judged, Outputs
from edge_agent.foreign import ForeignGround
from edge_agent.imagery.frames import FrameFile
from edge_agent.judge import ExaminedTile, Judge
from edge_agent.novelty.memory import KeptTiles
from edge_agent.read_ahead import EndedError, ReadAhead
from edge_agent.reading import (
    FrameFailed,
    FrameFinished,
    FrameOpened,
    FrameSkipped,
    ReadEvent,
    TilesRead,
)
from edge_agent.records.recorder import Recorder
from edge_agent.records.values import BatchResult, FrameProgress
from edge_agent.scoring.survey_watch import alarm_in_words

_log = logging.getLogger(__name__)

OFF_SCALE = 2.0
"""Finer or coarser than the model's scale by more than this is another world to it."""
IDLE_S = 1.0
"""Without a new tile for so long, what waits is judged: the last tiles of a landing aircraft."""


@dataclass(slots=True)
class FilterReport:
    """What one run has done so far."""

    stopped: bool = False
    """Before its end."""
    frames_finished: int = 0
    frames_skipped: int = 0
    """Known to the ledger as done before this run."""
    frames_failed_before: int = 0
    """Failed in an earlier run, and not tried again."""
    frames_failed: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, reason and message of each."""
    frames_off_scale: int = 0
    """Shown to the model at less than half or more than twice the scale it was trained at."""
    frames_of_unknown_scale: int = 0
    tiles: int = 0
    kept: int = 0
    evicted: int = 0
    payload_bytes: int = 0
    """Of the kept tiles."""
    by_reason: Counter[str] = field(default_factory=Counter)
    """First reason of the verdict -> tiles, kept and skipped alike."""


@dataclass(slots=True)
class _OpenFrame:
    frame_id: int
    frame: Frame
    tile_count: int
    tiles_done: int
    finished: bool = False
    scale_known: bool = False
    """Whether the report has been told of its scale."""


@dataclass(frozen=True, slots=True)
class _Batch:
    files: tuple[FrameFile, ...]
    """Of each tile."""
    tiles: tuple[ExaminedTile, ...]
    outputs: Future[Outputs] | None


class Filter:
    """The loop's state: frames under way, tiles that wait, and the batch the model has."""

    def __init__(
        self,
        judge: Judge,
        recorder: Recorder,
        kept: KeptTiles,
        batch_size: int,
        model_gsd_m: float,
        foreign: ForeignGround | None = None,
    ) -> None:
        """`kept` and `foreign` are those of the judge: what is given up is forgotten there."""
        self._judge = judge
        self._recorder = recorder
        self._kept = kept
        self._foreign = foreign
        self._batch_size = batch_size
        self._model_gsd_m = model_gsd_m
        self._model = ThreadPoolExecutor(1, "model")
        self._open: dict[FrameFile, _OpenFrame] = {}
        self._waiting: list[tuple[FrameFile, ExaminedTile]] = []
        self._under_way: _Batch | None = None
        self.report = FilterReport()

    def close(self) -> None:
        """End the model's thread; a batch that is not committed is judged anew next time."""
        self._model.shutdown(cancel_futures=True)

    def run(
        self,
        events: ReadAhead[ReadEvent],
        stopped: Callable[[], bool],
        progressed: Callable[[FilterReport], None],
        idle: Callable[[], None],
    ) -> FilterReport:
        """Work until the events end or `stopped`; `progressed` is called after each step.

        `idle` is called when nothing came for `IDLE_S` seconds.
        """
        while not (halted := stopped()):
            try:
                event = events.get(IDLE_S)
            except EndedError:
                break
            if event is None:
                self.flush()
                idle()
                continue
            self.handle(event)
            progressed(self.report)
        self.report.stopped = halted
        self.flush()
        return self.report

    def handle(self, event: ReadEvent) -> None:
        """Take one event of the reader."""
        if isinstance(event, TilesRead):
            self._note_scale(event)
            self._waiting += [(event.file, tile) for tile in event.tiles]
            while len(self._waiting) >= self._batch_size:
                self._start(self._batch_size)
        elif isinstance(event, FrameOpened):
            row = self._recorder.begin_frame(
                event.file, event.frame, event.tile_count, time.time(), event.plan
            )
            self._open[event.file] = _OpenFrame(
                row.frame_id, event.frame, event.tile_count, event.first
            )
        elif isinstance(event, FrameFinished):
            self._open[event.file].finished = True
        elif isinstance(event, FrameSkipped):
            self.report.frames_skipped += not event.failed
            self.report.frames_failed_before += event.failed
        else:
            self._fail(event)

    def flush(self) -> None:
        """Judge and commit all that waits."""
        if self._waiting:
            self._start(len(self._waiting))
        self._finish()
        if any(state.finished for state in self._open.values()):
            self._commit((), [])

    def _note_scale(self, event: TilesRead) -> None:
        """Count a frame whose tiles show the ground at another scale than the model knows."""
        state = self._open[event.file]
        if state.scale_known:
            return
        state.scale_known = True
        gsd_m = event.tiles[0].tile.gsd_m
        if gsd_m is None:
            self.report.frames_of_unknown_scale += 1
            return
        times = self._model_gsd_m / gsd_m
        if 1 / OFF_SCALE <= times <= OFF_SCALE:
            return
        if not self.report.frames_off_scale:
            _log.warning(
                "%s is shown to the model %.2g times %s than it was trained at: verdicts are "
                "doubtful, and many tiles will seem strange",
                event.file.name, max(times, 1 / times), "finer" if times > 1 else "coarser",
            )  # fmt: skip
        self.report.frames_off_scale += 1

    def _fail(self, event: FrameFailed) -> None:
        self.flush()
        self._open.pop(event.file, None)
        self._recorder.fail_frame(event.file, event.reason, event.message, time.time())
        self.report.frames_failed.append((event.file.name, event.reason, event.message))

    def _start(self, count: int) -> None:
        """Give the model the next tiles, and commit those it had before meanwhile."""
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        files, tiles = zip(*taken, strict=True)
        batch = _Batch(files, tiles, self._judge.start(tiles, self._model))
        self._finish()
        self._under_way = batch

    def _finish(self) -> None:
        batch, self._under_way = self._under_way, None
        if batch is not None:
            outputs = None if batch.outputs is None else batch.outputs.result()
            self._commit(batch.files, self._judge.decide(batch.tiles, outputs))

    def _commit(self, files: Sequence[FrameFile], judged: Sequence[Judged]) -> None:
        for file in files:
            self._open[file].tiles_done += 1
        rows = [
            (self._open[file].frame_id, self._open[file].frame, one)
            for file, one in zip(files, judged, strict=True)
        ]
        news = self._foreign.take_news() if self._foreign is not None and judged else None
        result = self._recorder.commit(rows, self._progress(set(files)), time.time(), news)
        if news is not None and news.raised is not None:
            _log.warning("%s", alarm_in_words(news.raised, news))
        if result.evicted and not self.report.evicted:
            _log.warning("no room for all that is worth keeping: the least valuable goes")
        for address in result.evicted_addresses:
            self._kept.forget(address)
            if self._foreign is not None:
                self._foreign.forget(address)
        self._count(judged, result)

    def _progress(self, touched: set[FrameFile]) -> list[FrameProgress]:
        """How far each frame has come; it is finished when none of its tiles are left."""
        progress = []
        for file, state in list(self._open.items()):
            finished = state.finished and state.tiles_done == state.tile_count
            if file in touched or finished:
                progress.append(FrameProgress(state.frame_id, state.tiles_done, finished))
            if finished:
                del self._open[file]
                self.report.frames_finished += 1
        return progress

    def _count(self, judged: Sequence[Judged], result: BatchResult) -> None:
        self.report.tiles += len(judged)
        self.report.evicted += len(result.evicted_addresses)
        for one in judged:
            self.report.by_reason[one.verdict.reasons[0].code] += 1
            if one.payload is not None:
                self.report.kept += 1
                self.report.payload_bytes += len(one.payload)
