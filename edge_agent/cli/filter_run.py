"""Settings to a running filter: every part is made here, in the order of a tile's way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_agent.cli.fit_check import refuse_misfit
from edge_agent.cli.foreign_run import foreign_ground
from edge_agent.filter import Filter, FilterReport
from edge_agent.foreign import ForeignGround
from edge_agent.imagery.frames import FrameFile, TilePlan, find_frame_files
from edge_agent.imagery.watch import watch
from edge_agent.inference.bundle import Bundle, BundleError, read_bundle
from edge_agent.inference.session import Session
from edge_agent.judge import Judge
from edge_agent.novelty.memory import KeptTiles
from edge_agent.read_ahead import ReadAhead
from edge_agent.reading import Look, ReadEvent, read_frames
from edge_agent.records.database import Database, open_database
from edge_agent.records.ledger import open_survey, start_boot
from edge_agent.records.memory import kept_hashes
from edge_agent.records.recorder import ReadingMemory, Recorder
from edge_agent.records.values import Caps, Survey
from edge_agent.scoring.calibration import OOD, Calibration, CalibrationError
from edge_agent.scoring.calibration_arrays import read_arrays
from edge_agent.scoring.ensembles import ENSEMBLE_SCORES
from edge_agent.scoring.logits import LOGIT_SCORES
from edge_agent.selection.policy import PolicySettings, policy_id
from edge_agent.settings import EdgeSettings
from operations import sd_notify
from operations.errors import OperatorError, Problem, SettingsError

_log = logging.getLogger(__name__)

_AGAIN = "calibrate the bundle again: edge-agent calibrate"
READ_AHEAD = 6
"""Groups of tiles that may wait for the model."""

Show = Callable[[FilterReport], None]


@dataclass(frozen=True, slots=True)
class Imagery:
    """The files of a run."""

    files: Iterable[FrameFile]
    count: int | None
    """How many, None when they keep arriving."""
    polled: threading.Event
    """Set whenever the watched folder has been looked at."""


def run_filter(
    settings: EdgeSettings, imagery: Imagery, stop: threading.Event, show: Show
) -> FilterReport:
    """Run the first loop over `imagery` until it ends or `stop` is set.

    Raises:
        OperatorError: the bundle, its calibration or the state database cannot be used.
    """
    with opened_filter(settings) as (loop, bundle, survey_id):
        heart = sd_notify.Progress()

        def progressed(report: FilterReport) -> None:
            heart.made(f"{report.tiles} tiles, {report.kept} kept")
            show(report)

        def idle() -> None:
            # Only a folder that is still being looked at is a sign of life.
            if imagery.polled.is_set():
                imagery.polled.clear()
                heart.made()

        with closing(reading(settings, bundle, survey_id, imagery.files)) as events:
            sd_notify.ready(f"survey {settings.survey.name}, bundle {bundle.id}")
            try:
                report = loop.run(events, stop.is_set, progressed, idle)
            finally:
                # A reader that waits for files to arrive looks at nothing else.
                stop.set()
        sd_notify.stopping()
        return report


def reading(
    settings: EdgeSettings, bundle: Bundle, survey_id: int, files: Iterable[FrameFile]
) -> ReadAhead[ReadEvent]:
    """The thread that cuts `files` into tiles, from where the ledger says each is to go on."""
    return ReadAhead(_events(settings, bundle, survey_id, files), READ_AHEAD)


def _events(
    settings: EdgeSettings, bundle: Bundle, survey_id: int, files: Iterable[FrameFile]
) -> Iterator[ReadEvent]:
    spec = bundle.description.input
    plan = TilePlan((spec.size[0], spec.size[1]), spec.gsd_m, settings.imagery)
    look = Look(settings.policy.quality, settings.inference.batch_size)
    # A connection belongs to the thread that made it, and this body runs in the reading one.
    with open_database(Path(settings.records.database), check=False) as database:
        yield from read_frames(files, ReadingMemory(database, survey_id), plan, look)


@contextmanager
def opened_filter(settings: EdgeSettings) -> Iterator[tuple[Filter, Bundle, int]]:
    """The loop with all its parts, its bundle, and the survey's id in the ledger."""
    bundle = read_bundle(Path(settings.survey.bundle))
    session = Session(bundle, settings.inference)
    calibration = usable_calibration(bundle, settings.policy)
    if calibration is not None:
        refuse_misfit(bundle, session, calibration)
    records = settings.records
    path = Path(records.database)
    with open_database(path, max_bytes=records.database_max_bytes) as database:
        survey = _survey(database, settings, bundle)
        recorder = Recorder(database, survey, Caps.of(records))
        kept = KeptTiles(settings.policy.duplicate_memory, settings.policy.duplicate_bits)
        name = settings.survey.name
        memory = kept_hashes(database, settings.policy.duplicate_memory, here=name)
        for address, content, likeness in memory:
            kept.add(address, content, likeness)
        foreign = foreign_ground(database, survey.run_id, calibration, settings.policy)
        judge = Judge(session, calibration, settings.policy, settings.payload, kept, name, foreign)
        with closing(_loop_of(settings, bundle, judge, recorder, kept, foreign)) as loop:
            yield loop, bundle, survey.survey_id


def _loop_of(
    settings: EdgeSettings,
    bundle: Bundle,
    judge: Judge,
    recorder: Recorder,
    kept: KeptTiles,
    foreign: ForeignGround | None,
) -> Filter:
    gsd_m = bundle.description.input.gsd_m
    return Filter(judge, recorder, kept, settings.inference.batch_size, gsd_m, foreign)


def _survey(database: Database, settings: EdgeSettings, bundle: Bundle) -> Survey:
    survey = open_survey(
        database,
        settings.survey.name,
        bundle.id,
        bundle.model_sha256,
        policy_id(settings.policy),
        policy_settings=msgspec.json.encode(settings.policy).decode(),
        labels=bundle.description.labels,
        boot=start_boot(database),
        now=time.time(),
    )
    if survey.earlier_runs:
        _log.warning(
            "survey %s was judged before with another bundle or policy: frames finished then "
            "stay finished; another --survey judges them anew",
            survey.name,
        )
    return survey


def usable_calibration(bundle: Bundle, policy: PolicySettings) -> Calibration | None:
    """The bundle's calibration; what it cannot promise or give is refused before the flight."""
    calibration = calibration_of(bundle)
    if calibration is None:
        _log.warning("%s has no calibration: only the audit arm keeps tiles", bundle.id)
        return None
    problems = [
        problem
        for name, quantile in policy.thresholds.chosen().items()
        if (problem := _threshold_problem(name, quantile, calibration)) is not None
    ]
    if problems:
        raise SettingsError("the policy asks for more than the calibration can give", problems)
    if not policy.thresholds.chosen() and not policy.audit_share:
        _log.warning("policy.thresholds uses no score and audit_share is 0: nothing will be kept")
    for warning in calibration.warnings:
        _log.warning("calibration of %s: %s", bundle.id, warning)
    return calibration


def calibration_of(bundle: Bundle) -> Calibration | None:
    """What the bundle's calibration.npz holds; None where there is none.

    Raises:
        BundleError: the arrays do not fit together or not to the bundle.
    """
    if bundle.calibration is None:
        return None
    try:
        made = read_arrays(bundle.calibration, classes=len(bundle.description.labels))
        if bundle.description.output.embedding is None:
            # What the model does not show cannot be scored, whatever the calibration knows.
            made = made.only({*LOGIT_SCORES, *ENSEMBLE_SCORES})
        return made
    except CalibrationError as error:
        problems = [Problem(f"calibration.npz: {text}", _AGAIN) for text in error.problems]
        raise BundleError(f"bundle {bundle.folder} cannot be used", problems) from error


def _threshold_problem(name: str, quantile: float, calibration: Calibration) -> Problem | None:
    asked = f"policy.thresholds.{name} = {quantile}"
    if name != OOD and name not in calibration.score_names:
        hint = f"use 1.0 for it; this bundle gives ood, {', '.join(calibration.score_names)}"
        lacks = calibration.lacking.get(name, "it is not in this calibration")
        return Problem(f"{asked}: {lacks}", hint)
    least = calibration.smallest_p(name)
    if least <= 1.0 - quantile + 1e-12:
        return None
    return Problem(
        f"{asked}: {calibration.size} calibration tiles cannot tell so small a share",
        f"use at most {int((1.0 - least) * 1e4) / 1e4}, or calibrate with more tiles",
    )


def imagery_at(path: Path) -> Imagery:
    """What lies at `path` now: a file, or a folder with all below it.

    Raises:
        OperatorError: there is no image.
    """
    if not path.exists():
        raise OperatorError(
            "nothing to read", [Problem(f"{path} does not exist", "check the path")]
        )
    found = list(find_frame_files(path))
    if not found:
        hint = "images end in .tif, .tiff, .jpg, .jpeg, .png or .webp"
        raise OperatorError("nothing to read", [Problem(f"{path} holds no images", hint)])
    return Imagery(found, len(found), threading.Event())


def imagery_arriving(settings: EdgeSettings, folder: Path, stop: threading.Event) -> Imagery:
    """What lies in `folder` and whatever arrives there until `stop` is set."""
    polled = threading.Event()

    def stopped() -> bool:
        polled.set()
        return stop.is_set()

    return Imagery(watch(folder, settings.imagery, stopped), None, polled)
