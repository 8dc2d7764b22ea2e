"""Whether the survey under way is foreign, and what of it is unlike everything kept so far."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_agent.domain import Prediction, Tile
from edge_agent.novelty.leaders import Leaders, Likeness, cosine_distances
from edge_agent.scoring.calibration import OOD
from edge_agent.scoring.drift import DriftState, Sighting
from edge_agent.scoring.survey_watch import DriftNews, SurveyWatch

Embedding = npt.NDArray[np.floating]


class ForeignGround:
    """Watches a survey batch by batch: first `begin`, then for each tile `see`, `likeness` and,
    where it is kept, `keep`."""

    def __init__(
        self,
        watch: SurveyWatch | None,
        leaders: Leaders | None,
        epsilon: float,
        capacity: int = 0,
        inactive: str = "",
    ) -> None:
        """`watch` is None where nothing can be tested, and `inactive` says why; `leaders` is None
        for a bundle without embeddings."""
        self._watch = watch
        self._leaders = leaders
        self._epsilon = epsilon
        self._capacity = capacity
        self._inactive = inactive
        self._batch: Embedding | None = None
        self._distances: npt.NDArray[np.float32] | None = None
        self._kept: dict[str, Embedding] = {}

    def begin(self, embeddings: Embedding | None) -> None:
        """The (N, D) embeddings of the tiles that follow; None where there are none."""
        self._batch, self._distances = embeddings, None

    def see(self, frame: str, tile: Tile, prediction: Prediction) -> None:
        """Count a tile that the model could judge."""
        p_value = prediction.p_values.get(OOD)
        if self._watch is None or p_value is None:
            return
        extent_m = None if tile.gsd_m is None else tile.gsd_m * max(tile.pixels.shape[:2])
        self._watch.see(Sighting(frame, p_value, tile.position, extent_m))

    def likeness(self, row: int) -> Likeness | None:
        """How near the batch's tile of this row is to what was kept; None in a survey that is
        not known to be foreign."""
        if self._watch is None or not self._watch.alarmed:
            return None
        if self._leaders is None or self._batch is None or not self._batch[row].any():
            return Likeness(None, self._epsilon)
        if self._distances is None:
            self._distances = self._leaders.distance_to_nearest(self._batch)
        return Likeness(float(self._distances[row]), self._epsilon)

    def keep(self, address: str, embedding: Embedding | None) -> None:
        """A tile was kept: what follows is compared with it, too."""
        if self._leaders is None or embedding is None:
            return
        self._leaders.add(address, embedding)
        self._kept[address] = embedding
        if self._distances is not None and self._batch is not None:
            np.minimum(
                self._distances, cosine_distances(self._batch, embedding), out=self._distances
            )

    def forget(self, address: str) -> None:
        """A tile was given up before it was sent: its like is welcome again."""
        if self._leaders is not None:
            self._leaders.forget(address)

    def take_news(self) -> DriftNews:
        """What was learnt since this was last asked."""
        seen = DriftNews(DriftState(), 0.0) if self._watch is None else self._watch.take_news()
        news = replace(
            seen, inactive=self._inactive, leaders=self._kept, leader_capacity=self._capacity
        )
        self._kept = {}
        return news
