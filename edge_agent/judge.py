"""A batch of tiles through the rooms: quality, inference, scores, novelty, verdict, payload."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_agent.domain import Finding, Judged, Prediction, Tile, Verdict
from edge_agent.imagery.payload import MEDIA_TYPES, PayloadSettings, encode_payload
from edge_agent.inference.session import Session
from edge_agent.novelty.memory import Duplicate, KeptTiles
from edge_agent.novelty.perceptual_hash import perceptual_hash
from edge_agent.rules.quality import assess
from edge_agent.scoring.calibration import Calibration
from edge_agent.scoring.logits import logit_scores, softmax, usable_rows
from edge_agent.selection.audit import audit_draw
from edge_agent.selection.policy import Candidate, PolicySettings, decide

NOVELTY: Final = "novelty"
INFERENCE: Final = "inference"


@dataclass(frozen=True, slots=True)
class TileOfFrame:
    """A tile and the name of the frame it was cut from."""

    frame: str
    tile: Tile

    @property
    def address(self) -> str:
        """How people name a tile: `frame@row,column`."""
        return f"{self.frame}@{self.tile.row},{self.tile.column}"


class Judge:
    """Everything that turns tiles into verdicts; the kept tiles it remembers are its only state."""

    def __init__(
        self,
        session: Session,
        calibration: Calibration | None,
        policy: PolicySettings,
        payload: PayloadSettings,
        kept: KeptTiles,
        survey: str,
    ) -> None:
        self._session = session
        self._calibration = calibration
        self._policy = policy
        self._payload = payload
        self._kept = kept
        self._survey = survey

    def judge(self, batch: Sequence[TileOfFrame]) -> list[Judged]:
        """One record per tile, in the order given."""
        quality = [assess(item.tile, self._policy.quality) for item in batch]
        visible = [index for index, finding in enumerate(quality) if finding.state == "ok"]
        predictions = self._predict([batch[index].tile for index in visible])
        by_index = dict(zip(visible, predictions, strict=True))
        return [
            self._judge_one(item, quality[index], by_index.get(index), index in by_index)
            for index, item in enumerate(batch)
        ]

    def _predict(self, tiles: Sequence[Tile]) -> list[Prediction | None]:
        """Predictions of the model; None where its numbers are not finite."""
        if not tiles:
            return []
        outputs = self._session.run([tile.pixels for tile in tiles])
        usable = usable_rows(outputs.logits)
        logits = outputs.logits[usable]
        if not len(logits):
            return [None] * len(tiles)
        probabilities = softmax(logits)
        scores = logit_scores(logits)
        p_values = {}
        if self._calibration is not None:
            p_values = {name: self._calibration.p_values(name, scores[name]) for name in scores}
        embedding = None if outputs.embedding is None else outputs.embedding[usable]
        found = iter(
            Prediction(
                probabilities=probabilities[row],
                embedding=None if embedding is None else embedding[row],
                scores={name: float(values[row]) for name, values in scores.items()},
                p_values={name: float(values[row]) for name, values in p_values.items()},
            )
            for row in range(len(logits))
        )
        return [next(found) if good else None for good in usable]

    def _judge_one(
        self, item: TileOfFrame, quality: Finding, prediction: Prediction | None, ran: bool
    ) -> Judged:
        tile = item.tile
        findings = [quality]
        if ran and prediction is None:
            findings.append(Finding(INFERENCE, "flag", {"fault": "non-finite"}))
        content = hashlib.sha256(tile.pixels.tobytes()).digest()
        likeness = perceptual_hash(tile.pixels) if prediction is not None else None
        duplicate = None
        if prediction is not None:
            duplicate = self._kept.find(content, likeness)
            findings.append(_novelty_finding(duplicate))
        draw = audit_draw(self._policy.audit_seed, self._survey, item.frame, tile.row, tile.column)
        verdict = decide(Candidate(findings, prediction, duplicate, draw), self._policy)
        if verdict.keep:
            self._kept.add(item.address, content, likeness)
        return Judged(
            tile=tile,
            prediction=prediction,
            findings=tuple(findings),
            quality=None,
            content_sha256=content,
            perceptual_hash=likeness,
            verdict=verdict,
            payload=self._encode(tile, verdict),
            payload_type=MEDIA_TYPES[self._payload.format] if verdict.keep else None,
        )

    def _encode(self, tile: Tile, verdict: Verdict) -> bytes | None:
        return encode_payload(tile.pixels, self._payload) if verdict.keep else None


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
