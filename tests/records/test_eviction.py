"""Which sample goes when there is no room, against a model that knows no SQL."""

from __future__ import annotations

import importlib.util
import math
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_agent.records import outbox
from edge_agent.records.database import Database
from edge_agent.records.migrations import migrate
from edge_agent.records.values import Caps
from sync_protocol.messages import Settlement

_spec = importlib.util.spec_from_file_location(
    "records_building", Path(__file__).with_name("building.py")
)
assert _spec is not None
assert _spec.loader is not None
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

SIZES = (1, 100, 250, 400)
LIMITS = ((1000, 1500), (5000, 700), (800, 0), (700, 800), (600, 600))
"""Outbox and survey, 0 for none: one binds, the other, both."""
SURVEYS = ("north", "south")


@dataclass
class Sample:
    """What the model knows of a kept tile."""

    survey: str
    value: float
    size: int
    number: int
    started: bool = False
    quarantined: bool = False
    waiting: bool = True
    charged: bool = True

    @property
    def key(self) -> tuple[float, int]:
        """Lowest goes first; of equals the youngest. The exponent is the design's 0.7."""
        return self.value / self.size**0.7, -self.number


class Model:
    """The policy once more, with lists and sums."""

    def __init__(self) -> None:
        self.samples: dict[str, Sample] = {}
        self.caps = Caps(*LIMITS[0])

    def waiting(self) -> list[Sample]:
        return [s for s in self.samples.values() if s.waiting]

    def spent(self, survey: str) -> int:
        return sum(s.size for s in self.samples.values() if s.survey == survey and s.charged)

    def admit(self, new: Sample) -> bool:
        """Whether it fits, after the worse ones that must go have gone."""
        mine = [s for s in self.waiting() if s.survey == new.survey and not s.started]
        going: list[Sample] = []
        for candidates, used, cap in (
            (
                mine,
                lambda: self.spent(new.survey) - sum(s.size for s in going),
                self.caps.survey_max_bytes or math.inf,
            ),
            (
                self.waiting(),
                lambda: sum(s.size for s in self.waiting() if s not in going),
                self.caps.outbox_max_bytes,
            ),
        ):
            for worst in sorted(candidates, key=lambda s: (not s.quarantined, s.key)):
                if used() + new.size <= cap:
                    break
                gives_way = worst.quarantined or worst.key[0] < new.key[0]
                if gives_way and worst not in going:
                    going.append(worst)
            if used() + new.size > cap:
                return False
        for sample in going:
            sample.waiting, sample.charged = False, sample.started
        return True


class Queue(RuleBasedStateMachine):
    """Any order of batches, attempts, receipts and an operator's doings."""

    def __init__(self) -> None:
        super().__init__()
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection, Path(":memory:"))
        self.database = Database(Path(":memory:"), connection, None)
        self.surveys = {name: build.survey(self.database, name) for name in SURVEYS}
        self.model = Model()
        self.number = 0

    @initialize(limits=st.sampled_from(LIMITS))
    def limited(self, limits: tuple[int, int]) -> None:
        self.model.caps = Caps(*limits)

    @rule(
        survey=st.sampled_from(SURVEYS),
        tiles=st.lists(
            st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.sampled_from(SIZES)), max_size=6
        ),
    )
    def batch(self, survey: str, tiles: list[tuple[float, int]]) -> None:
        judged = []
        for value, size in tiles:
            judged.append(build.judged(self.number + len(judged), value=value, size=size))
        before = {sample_id for sample_id, s in self.model.samples.items() if s.waiting}
        ids = {}
        result = build.commit(
            self.database,
            self.surveys[survey],
            judged,
            name=survey,
            caps=self.model.caps,
        )
        for reference in (*result.kept, *result.evicted):
            ids[reference.address] = reference.sample_id
        for value, size in tiles:
            address = f"{survey}@{self.number},0"
            new = Sample(survey, value, size, self.number)
            if not self.model.admit(new):
                new.waiting = new.charged = False
            self.model.samples[ids[address]] = new
            self.number += 1
        after = {sample_id for sample_id, s in self.model.samples.items() if s.waiting}
        given_up = {sample.sample_id for sample in result.evicted}
        mine = {
            ids[f"{survey}@{number},0"] for number in range(self.number - len(tiles), self.number)
        }
        assert given_up == (before | mine) - after

    @rule(index=st.integers(0, 50), refund=st.booleans())
    def attempt(self, index: int, refund: bool) -> None:
        sample_id = self.pick(index)
        if sample_id is None:
            return
        outbox.record_attempt(self.database, [sample_id], 1.0)
        if refund:
            outbox.refund_attempt(self.database, [sample_id])
        sample = self.model.samples[sample_id]
        sample.started = sample.started or sample.waiting

    @rule(
        index=st.integers(0, 50),
        outcome=st.sampled_from(["stored", "duplicate", "skipped", "rejected"]),
    )
    def receipt(self, index: int, outcome: str) -> None:
        sample_id = self.pick(index)
        if sample_id is None or not self.model.samples[sample_id].waiting:
            return
        settlement = Settlement(sample_id=sample_id, outcome=outcome)
        outbox.settle(self.database, [settlement], 2.0)
        sample = self.model.samples[sample_id]
        if outcome == "rejected":
            sample.quarantined = True
            return
        sample.waiting = False
        sample.charged = sample.started or outcome in ("stored", "duplicate")

    @rule(index=st.integers(0, 50), doing=st.sampled_from(["quarantine", "retry", "drop"]))
    def operator(self, index: int, doing: str) -> None:
        sample_id = self.pick(index)
        if sample_id is None:
            return
        sample = self.model.samples[sample_id]
        if doing == "quarantine":
            outbox.quarantine(self.database, sample_id, "in vain")
            sample.quarantined = True
        elif doing == "retry":
            outbox.retry(self.database, [sample_id])
            sample.quarantined = False
        elif sample.waiting:
            outbox.drop(self.database, [sample_id])
            sample.waiting, sample.charged = False, sample.started

    def pick(self, index: int) -> str | None:
        ids = list(self.model.samples)
        return ids[index % len(ids)] if ids else None

    @invariant()
    def agrees(self) -> None:
        """Order, bytes and every book agree with the model."""
        offered = [s for s in self.model.waiting() if not s.quarantined]
        expected = sorted(offered, key=lambda s: s.key, reverse=True)
        found = outbox.next_samples(self.database, 999)
        assert [s.description.row for s in found] == [s.number for s in expected]
        assert outbox.statistics(self.database).bytes == sum(s.size for s in self.model.waiting())
        assert sum(s.size for s in self.model.waiting()) <= self.model.caps.outbox_max_bytes
        for name, survey in self.surveys.items():
            (spent,) = self.database.connection.execute(
                "SELECT bytes FROM survey WHERE id = ?", (survey.survey_id,)
            ).fetchone()
            assert spent == self.model.spent(name)
            assert spent <= (self.model.caps.survey_max_bytes or spent)

    def teardown(self) -> None:
        assert build.problems(self.database.connection) == []
        self.database.close()


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
