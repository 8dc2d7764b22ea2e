"""A batch of tiles through the rooms: quality, inference, scores, novelty, verdict, payload."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Finding, Judged, Outputs, Prediction, Tile
from edge_agent.foreign import ForeignGround
from edge_agent.imagery.payload import MEDIA_TYPES, PayloadSettings, encode_payload
from edge_agent.inference.session import Session
from edge_agent.novelty.memory import Duplicate, KeptTiles
from edge_agent.novelty.perceptual_hash import perceptual_hash
from edge_agent.rules.quality import QualitySettings, assess
from edge_agent.scoring.calibration import Calibration, Scored, probabilities, uncalibrated
from edge_agent.selection.audit import audit_draw
from edge_agent.selection.policy import FOREIGN, Candidate, PolicySettings, decide

NOVELTY: Final = "novelty"
INFERENCE: Final = "inference"


@dataclass(frozen=True, slots=True)
class ExaminedTile:
    """A tile and all that can be said of it without the model or what was kept before."""

    frame: str
    tile: Tile
    quality: Finding
    content_sha256: bytes
    perceptual_hash: int | None

    @property
    def address(self) -> str:
        """How people name a tile: `frame@row,column`."""
        return f"{self.frame}@{self.tile.row},{self.tile.column}"

    @property
    def visible(self) -> bool:
        """Whether there is anything to show to the model."""
        return self.quality.state == "ok"


def examine(frame: str, tile: Tile, settings: QualitySettings) -> ExaminedTile:
    """What a tile is by itself; needs no order, so it can be done as tiles are read."""
    quality = assess(tile, settings)
    return ExaminedTile(
        frame=frame,
        tile=tile,
        quality=quality,
        content_sha256=hashlib.sha256(tile.pixels.tobytes()).digest(),
        perceptual_hash=perceptual_hash(tile.pixels) if quality.state == "ok" else None,
    )


class Judge:
    """What turns tiles into verdicts; its only state are the kept tiles that it remembers and the
    watch over whether the survey is foreign."""

    def __init__(
        self,
        session: Session,
        calibration: Calibration | None,
        policy: PolicySettings,
        payload: PayloadSettings,
        kept: KeptTiles,
        survey: str,
        foreign: ForeignGround | None = None,
    ) -> None:
        """`foreign` is None where nobody asks whether the survey is foreign."""
        self._session = session
        self._calibration = calibration
        self._policy = policy
        self._payload = payload
        self._kept = kept
        self._survey = survey
        self._foreign = foreign

    def start(self, batch: Sequence[ExaminedTile], model: Executor) -> Future[Outputs] | None:
        """Have `model` run the bundle on all of the batch that can be seen; None if nothing can.

        Only the run itself is left to the executor: it needs no Python, so that decisions on
        the batch before go on meanwhile.
        """
        visible = [item.tile.pixels for item in batch if item.visible]
        return model.submit(self._session.run, self._session.prepare(visible)) if visible else None

    def decide(self, batch: Sequence[ExaminedTile], outputs: Outputs | None) -> list[Judged]:
        """Verdicts in the order given, each knowing of the tiles kept before it.

        `outputs` are those of the visible tiles, None when there are none.
        """
        said = iter(enumerate([] if outputs is None else self._predictions(outputs)))
        if self._foreign is not None:
            self._foreign.begin(None if outputs is None else outputs.features)
        return [
            self._decide_one(item, *(next(said) if item.visible else (-1, None))) for item in batch
        ]

    def _predictions(self, outputs: Outputs) -> list[Prediction | str]:
        """One per row, or what is wrong with the model's numbers."""
        judged = uncalibrated if self._calibration is None else self._calibration.judge
        scored = judged(outputs)
        shares = probabilities(outputs)
        return [
            fault if fault is not None else _prediction(row, shares, outputs, scored)
            for row, fault in enumerate(scored.faults)
        ]

    def _decide_one(self, item: ExaminedTile, row: int, said: Prediction | str | None) -> Judged:
        """`row` is the tile's among the outputs, `said` what the model says of it."""
        findings = [item.quality]
        duplicate = likeness = None
        prediction = said if isinstance(said, Prediction) else None
        if prediction is not None:
            duplicate = self._kept.find(item.content_sha256, item.perceptual_hash)
            findings.append(_novelty_finding(duplicate))
            if self._foreign is not None:
                self._foreign.see(item.frame, item.tile, prediction)
                likeness = self._foreign.likeness(row)
        elif isinstance(said, str):
            findings.append(Finding(INFERENCE, "flag", {"fault": said}))
        tile = item.tile
        seed, survey, address = self._policy.audit_seed, self._survey, item.address
        draw = audit_draw(seed, survey, address, item.content_sha256)
        again = audit_draw(seed, f"{survey}\0{FOREIGN}", address, item.content_sha256)
        candidate = Candidate(findings, prediction, duplicate, draw, likeness, again)
        verdict = decide(candidate, self._policy)
        if verdict.keep:
            self._kept.add(address, item.content_sha256, item.perceptual_hash)
            if self._foreign is not None and prediction is not None:
                self._foreign.keep(address, prediction.embedding)
        return Judged(
            tile=tile,
            prediction=prediction,
            findings=tuple(findings),
            quality=None,
            content_sha256=item.content_sha256,
            perceptual_hash=item.perceptual_hash,
            verdict=verdict,
            payload=encode_payload(tile.pixels, self._payload) if verdict.keep else None,
            payload_type=MEDIA_TYPES[self._payload.format] if verdict.keep else None,
        )


def _prediction(
    row: int, shares: npt.NDArray[np.float64], outputs: Outputs, scored: Scored
) -> Prediction:
    return Prediction(
        probabilities=shares[row],
        embedding=None if outputs.features is None else outputs.features[row].astype(np.float32),
        scores={name: float(values[row]) for name, values in scored.scores.items()},
        p_values={name: float(values[row]) for name, values in scored.p_values.items()},
    )


def _novelty_finding(duplicate: Duplicate | None) -> Finding:
    if duplicate is None:
        return Finding(NOVELTY, "ok")
    return Finding(
        NOVELTY,
        "flag",
        {
            "likeness": duplicate.kind,
            "duplicate_of": duplicate.of,
            "distance": duplicate.distance,
        },
    )
