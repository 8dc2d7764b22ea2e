"""The queue as the sync daemon uses it."""

from __future__ import annotations

from types import ModuleType

import pytest

from edge_agent.records import outbox
from edge_agent.records.database import Database
from edge_agent.records.ledger import last_events
from edge_agent.records.lookup import find_tile
from edge_agent.records.overview import overview, totals
from edge_agent.records.values import Caps, SettleResult
from edge_agent.selection.budget import priority
from sync_protocol.messages import Outcome, Settlement

UNKNOWN = "0" * 32


def queued(database: Database, build: ModuleType, values: list[float], **more: object) -> list[str]:
    """Samples of these values, in this order; their ids."""
    survey = build.survey(database)
    tiles = [build.judged(row, value=value) for row, value in enumerate(values)]
    result = build.commit(database, survey, tiles, **more)
    return [sample.sample_id for sample in result.kept]


def delivery(database: Database, sample_id: str) -> tuple[str, str | None]:
    columns = find_tile(database, sample_id).columns
    return columns["delivery"], columns["delivery_detail"]


def test_the_most_valuable_per_byte_goes_first(database: Database, build: ModuleType) -> None:
    """Order by value / bytes^0.7, of equals the oldest first."""
    survey = build.survey(database)
    tiles = [
        build.judged(0, value=0.5, size=1000),
        build.judged(1, value=0.6, size=4000),
        build.judged(2, value=0.5, size=1000),
        build.judged(3, value=0.2, size=100),
    ]
    build.commit(database, survey, tiles)
    found = outbox.next_samples(database, 9)
    expected = sorted(range(4), key=lambda r: -priority(tiles[r].verdict.value,
                                                        len(tiles[r].payload)))  # fmt: skip
    assert [sample.description.row for sample in found] == expected == [3, 0, 2, 1]
    assert [s.priority for s in found] == sorted((s.priority for s in found), reverse=True)
    assert [sample.payload_size for sample in found] == [100, 1000, 1000, 4000]


def test_those_under_way_are_left_out(database: Database, build: ModuleType) -> None:
    """`excluding` does not shorten the answer while others wait."""
    ids = queued(database, build, [0.9, 0.8, 0.7, 0.6])
    found = outbox.next_samples(database, 2, [ids[0], ids[2], UNKNOWN, "no id"])
    assert [sample.sample_id for sample in found] == [ids[1], ids[3]]
    assert outbox.next_samples(database, 2, ids) == []


def test_attempts_are_counted_before_and_given_back(database: Database, build: ModuleType) -> None:
    """A count per sample, persisted; a refund never goes below zero; unknown ids are ignored."""
    first, second = queued(database, build, [0.9, 0.8])
    assert outbox.record_attempt(database, [first, second, UNKNOWN], 5.0) == {first: 1, second: 1}
    assert outbox.record_attempt(database, [first], 6.0, missing={first: 300}) == {first: 2}
    found = {s.sample_id: (s.attempts, s.missing) for s in outbox.next_samples(database, 9)}
    assert found == {first: (2, 300), second: (1, None)}
    assert outbox.refund_attempt(database, [second, UNKNOWN]) == {second: 0}
    assert outbox.refund_attempt(database, [second]) == {second: 0}


@pytest.mark.parametrize("outcome", ["stored", "duplicate", "skipped"])
def test_a_receipt_ends_a_samples_way(
    database: Database, build: ModuleType, outcome: Outcome
) -> None:
    """The row and its pixels go, the ledger keeps the outcome and base's words."""
    first, second = queued(database, build, [0.9, 0.8])
    settlement = Settlement(sample_id=first, outcome=outcome, detail="because")
    unknown = Settlement(sample_id=UNKNOWN, outcome="stored")
    assert outbox.settle(database, [settlement, unknown], 7.0) == SettleResult(1, 0, 0, 1)
    assert outbox.payload(database, first) is None
    assert [sample.sample_id for sample in outbox.next_samples(database, 9)] == [second]
    assert delivery(database, first) == (outcome, "because")
    again = Settlement(sample_id=first, outcome="rejected")
    assert outbox.settle(database, [again], 8.0) == SettleResult(0, 0, 1, 0)
    assert delivery(database, first) == (outcome, "because")
    assert build.problems(database.connection) == []


@pytest.mark.parametrize("outcome", ["rejected", "unsupported"])
def test_what_base_refuses_is_set_aside(
    database: Database, build: ModuleType, outcome: Outcome
) -> None:
    """One wrong setting at base costs no pixels: an operator sends them again."""
    first, second = queued(database, build, [0.9, 0.8])
    before = outbox.payload(database, first)
    settled = [
        Settlement(sample_id=sample, outcome=outcome, detail="not this policy")
        for sample in (first, second)
    ]
    assert outbox.settle(database, settled[:1], 7.0) == SettleResult(0, 0, 0, 0, 1)
    assert outbox.settle(database, settled, 8.0) == SettleResult(0, 0, 1, 0, 1)
    assert outbox.payload(database, first) == before
    assert outbox.next_samples(database, 9) == []
    assert delivery(database, first) == ("quarantined", f"{outcome}: not this policy")
    (survey,) = overview(database).surveys
    assert survey.by_prefix("refused") == {outcome: 2}
    assert [event.kind for event in last_events(database)] == ["refused"]
    assert build.problems(database.connection) == []
    assert outbox.retry(database, [first]) == [first]
    assert [sample.sample_id for sample in outbox.next_samples(database, 9)] == [first]
    stored = [Settlement(sample_id=sample, outcome="stored") for sample in (first, second)]
    assert outbox.settle(database, stored, 9.0).removed == 2
    assert delivery(database, second) == ("stored", None)
    assert build.problems(database.connection) == []


def test_what_is_set_aside_goes_first(database: Database, build: ModuleType) -> None:
    """However valuable: room is for what base will take."""
    first, second = queued(database, build, [0.9, 0.5])
    outbox.settle(database, [Settlement(sample_id=first, outcome="unsupported")], 7.0)
    survey = build.survey(database)
    caps = Caps(outbox_max_bytes=2000)
    result = build.commit(database, survey, [build.judged(5, value=0.1)], caps=caps)
    assert [sample.sample_id for sample in result.evicted] == [first]
    waiting = [sample.sample_id for sample in outbox.next_samples(database, 9)]
    assert waiting == [second, result.kept[0].sample_id]
    assert build.problems(database.connection) == []


def test_numbers_of_the_outbox_need_no_walk_through_it(database: Database) -> None:
    """Each comes from a counter or out of an index, however many samples wait."""
    asked: list[str] = []
    database.connection.set_trace_callback(asked.append)
    outbox.statistics(database)
    database.connection.set_trace_callback(None)
    selects = [query for query in asked if query.startswith("SELECT")]
    assert len(selects) >= 4
    for query in selects:
        for row in database.connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall():
            if "outbox" in row[3]:
                assert "outbox_tried" in row[3] or query.endswith("ORDER BY tile_id LIMIT 1")


def test_a_receipt_after_eviction_tells_how_it_ended(database: Database, build: ModuleType) -> None:
    """A sample given up while it was under way and stored all the same is `stored`."""
    survey = build.survey(database)
    caps = Caps(outbox_max_bytes=2000, survey_max_bytes=100_000)
    (low,) = build.commit(database, survey, [build.judged(0, value=0.1)], caps=caps).kept
    outbox.record_attempt(database, [low.sample_id], 5.0)
    better = [build.judged(1, value=0.8), build.judged(2, value=0.9)]
    result = build.commit(database, survey, better, caps=caps)
    assert result.evicted == (low,)
    assert delivery(database, low.sample_id) == ("evicted", "no room")
    assert build.problems(database.connection) == []
    stored = Settlement(sample_id=low.sample_id, outcome="stored")
    assert outbox.settle(database, [stored], 7.0) == SettleResult(0, 1, 0, 0)
    assert delivery(database, low.sample_id) == ("stored", None)
    assert totals(database)["delivery:evicted"] == 0
    assert build.problems(database.connection) == []


def test_the_better_tile_of_a_survey_replaces_an_unsent_one(
    database: Database, build: ModuleType
) -> None:
    """Under a survey's cap only what was not begun gives way, and a worse tile changes nothing."""
    survey = build.survey(database)
    caps = Caps(outbox_max_bytes=100_000, survey_max_bytes=3000)
    tiles = [build.judged(row, value=0.2 + 0.1 * row) for row in range(3)]
    kept = build.commit(database, survey, tiles, caps=caps).kept
    outbox.record_attempt(database, [kept[0].sample_id], 5.0)
    outbox.refund_attempt(database, [kept[0].sample_id])
    outbox.settle(database, [Settlement(sample_id=kept[2].sample_id, outcome="stored")], 6.0)
    result = build.commit(database, survey, [build.judged(7, value=0.15)], caps=caps)
    assert result.evicted_addresses == ["DJI_0001.JPG@7,0"]
    result = build.commit(database, survey, [build.judged(8, value=0.9)], caps=caps)
    assert result.evicted == (kept[1],)
    result = build.commit(database, survey, [build.judged(9, value=0.95)], caps=caps)
    assert result.evicted_addresses == ["DJI_0001.JPG@8,0"]
    other = build.survey(database, "south field")
    assert len(build.commit(database, other, [build.judged(1, value=0.1)], caps=caps,
                            name="other.jpg").kept) == 1  # fmt: skip
    assert build.problems(database.connection) == []


def test_quarantine_retry_and_drop(database: Database, build: ModuleType) -> None:
    """A sample set aside is offered no more until an operator sends it again, or drops it."""
    first, second, third = queued(database, build, [0.9, 0.8, 0.7])
    outbox.record_attempt(database, [first], 5.0)
    assert outbox.quarantine(database, first, "three strikes")
    assert not outbox.quarantine(database, first, "again")
    assert not outbox.quarantine(database, UNKNOWN, "who?")
    assert delivery(database, first) == ("quarantined", "three strikes")
    assert [s.sample_id for s in outbox.next_samples(database, 9)] == [second, third]
    assert outbox.statistics(database).quarantined == 1
    assert "three strikes" in last_events(database)[0].message
    assert build.problems(database.connection) == []
    assert outbox.sample_ids(database, quarantined=True) == [first]
    assert outbox.retry(database, [first, UNKNOWN]) == [first]
    assert outbox.next_samples(database, 1)[0].attempts == 0
    assert outbox.drop(database, [third, UNKNOWN]) == [third]
    assert delivery(database, third) == ("dropped", "by the operator")
    assert outbox.statistics(database).waiting == 2
    assert build.problems(database.connection) == []


def test_the_overview_adds_up(database: Database, build: ModuleType) -> None:
    """What status shows agrees with what was done."""
    ids = queued(database, build, [0.9, 0.8, 0.7], finished=True)
    outbox.record_attempt(database, ids[:2], 5.0)
    outbox.settle(database, [Settlement(sample_id=ids[0], outcome="stored")], 6.0, sent_bytes=1234)
    found = overview(database)
    assert (found.outbox.waiting, found.outbox.tried, found.outbox.bytes) == (2, 1, 2000)
    (survey,) = found.surveys
    assert survey.by_prefix("delivery") == {"queued": 2, "stored": 1}
    assert survey.by_prefix("kept") == {"score:entropy": 3}
    assert survey.counters["payload_bytes_stored"] == 1000
    assert survey.bytes == 3000
    assert found.device["payload_bytes_sent"] == 1234


def test_births_are_numbered(database: Database) -> None:
    """Each connection gets the next number."""
    assert [outbox.next_birth(database) for _ in range(3)] == [1, 2, 3]


def test_bytes_once_sent_stay_spent(database: Database, build: ModuleType) -> None:
    """A sample given up while it was under way frees the outbox, not its survey's cap."""
    survey = build.survey(database)
    caps = Caps(outbox_max_bytes=2500, survey_max_bytes=3000)
    first = [build.judged(0, value=0.1), build.judged(1, value=0.9)]
    kept = build.commit(database, survey, first, caps=caps).kept
    outbox.record_attempt(database, [kept[0].sample_id], 5.0)
    more = [build.judged(2, value=0.6), build.judged(3, value=0.7, size=400)]
    result = build.commit(database, survey, more, caps=caps)
    assert result.evicted_addresses == ["DJI_0001.JPG@0,0", "DJI_0001.JPG@2,0"]
    assert overview(database).surveys[0].bytes == 1000 + 1000 + 400
    assert build.problems(database.connection) == []
