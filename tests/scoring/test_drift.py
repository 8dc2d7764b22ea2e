"""Is the survey foreign? False alarms, missed alarms, and votes that count once."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edge_agent.domain import Position
from edge_agent.scoring import drift
from edge_agent.scoring.drift import DriftState, DriftTest, Sighting, familiar_share
from edge_agent.scoring.ground_blocks import METRES_PER_DEGREE, frame_block, ground_block
from edge_agent.scoring.survey_watch import SurveyWatch

TEST = DriftTest(familiar_share=0.125)


def at(east_m: float, north_m: float, latitude: float = 46.0, longitude: float = 8.0) -> Position:
    scale = METRES_PER_DEGREE * math.cos(math.radians(latitude))
    return Position(longitude + east_m / scale, latitude + north_m / METRES_PER_DEGREE)


def tile(strange: bool, frame: str = "a", position: Position | None = None) -> Sighting:
    return Sighting(frame, 0.01 if strange else 0.5, position, 5.0)


def watched(sightings: list[Sighting], test: DriftTest = TEST) -> SurveyWatch:
    watch = SurveyWatch(test)
    for sighting in sightings:
        watch.see(sighting)
    return watch


def survey(shares: np.ndarray, rng: np.random.Generator) -> list[Sighting]:
    """Blocks of 8 tiles, each tile strange with its block's probability; no positions."""
    strange = rng.random((len(shares), 8)) < shares[:, np.newaxis]
    return [tile(bool(one), str(n)) for n, row in enumerate(strange) for one in row]


def test_the_capital_is_the_product_of_the_bets() -> None:
    """Against exact fractions: two votes of 3/4 and one of none, at a familiar share of 1/8."""
    votes = ((0, 1), (630, 2))
    exact = sum(
        Fraction(weight).limit_denominator(100)
        * (1 - (c := Fraction(bet).limit_denominator(100)))
        * (1 - c + 6 * c) ** 2
        for weight, bet in zip(drift.WEIGHTS, drift.BETS, strict=True)
    )
    assert drift.log_evidence(votes, 0.125) == pytest.approx(math.log(exact), rel=1e-12)
    assert sum(drift.WEIGHTS) == pytest.approx(1.0)


@given(st.floats(0.01, 0.9), st.floats(0.0, 1.0))
def test_no_bet_gains_by_expectation_on_familiar_ground(familiar: float, below: float) -> None:
    """A vote of mean at most the familiar share never raises the expected capital."""
    mean = familiar * below
    expected = (1 - mean) * math.exp(drift.log_evidence(((0, 1),), familiar)) + mean * math.exp(
        drift.log_evidence(((840, 1),), familiar)
    )
    assert expected <= 1.0 + 1e-9


def test_familiar_surveys_with_block_effects_hardly_ever_alarm() -> None:
    """Blocks wholly strange or not at all, half strange or not, at the greatest familiar share:
    the alarm is raised in no more surveys than it may, at any look."""
    rng = np.random.default_rng(1)
    test = msgspec.structs.replace(TEST, alarm=0.05)
    surveys, raised = 200, {"whole": 0, "half": 0, "even": 0}
    for _ in range(surveys):
        kinds = {
            "whole": (rng.random(120) < 0.125) * 1.0,
            "half": (rng.random(120) < 0.25) * 0.5,
            "even": np.full(120, 0.125),
        }
        for kind, shares in kinds.items():
            raised[kind] += watched(survey(shares, rng), test).alarmed
    most = stats.binom.ppf(0.999, surveys, test.alarm)
    assert all(count <= most for count in raised.values()), raised


def test_a_foreign_survey_is_found_in_a_dozen_blocks() -> None:
    """Of ground where 60 % of the tiles are strange, each survey alarms within 12 blocks."""
    rng = np.random.default_rng(2)
    votes = []
    for _ in range(200):
        watch = watched(survey(np.full(12, 0.6), rng))
        assert watch.state.alarm is not None
        votes.append(watch.state.alarm.votes)
    assert np.median(votes) <= 7


def test_the_familiar_share_covers_what_the_calibration_cannot_know() -> None:
    """Against scipy's Beta: given 119 calibration tiles, familiar ground exceeds it once in a
    thousand calibrations; 1.5 times the level alone would be exceeded by one in ten."""
    given_119 = stats.beta(6, 114)
    bound = familiar_share(119, 6, slack=1.5, risk=0.001, level=0.05)
    assert given_119.sf(bound) == pytest.approx(0.001, rel=1e-6)
    assert 0.05 < given_119.sf(0.075) < 0.15
    assert familiar_share(3999, 200, slack=1.5, risk=0.001, level=0.05) == pytest.approx(0.075)


def test_surveys_under_small_calibrations_hardly_ever_alarm() -> None:
    """Calibration and survey both drawn anew, p-values by rank: few alarms in long surveys."""
    rng = np.random.default_rng(3)
    test = DriftTest(familiar_share(119, 6, slack=1.5, risk=0.001, level=0.05))
    surveys, raised, by_slack_alone = 300, 0, 0
    for _ in range(surveys):
        # Scores are uniform on [0, 1]: a tile is strange above the calibration's sixth highest.
        share = 1.0 - np.sort(rng.random(119))[-6]
        votes = np.bincount(rng.binomial(8, share, 2000), minlength=9)
        counted = [(105 * strange, int(times)) for strange, times in enumerate(votes)]
        raised += drift.log_evidence(counted, test.familiar_share) >= math.log(1000)
        by_slack_alone += drift.log_evidence(counted, 0.075) >= math.log(1000)
    assert raised <= stats.binom.ppf(0.999, surveys, 0.002)
    assert by_slack_alone > 10


def test_a_calibration_without_small_p_values_is_refused() -> None:
    """Ten tiles give no p-value below 0.09: the test could never see a strange tile."""
    with pytest.raises(ValueError, match="10 calibration tiles"):
        familiar_share(10, 0, slack=1.5, risk=0.001, level=0.05)


def test_a_block_votes_once_whatever_flies_over_it() -> None:
    """Views of the same ground by other frames change the count of tiles, never the votes."""
    ground = [at(5.0 * i - 40.0, 0.0) for i in range(8)]
    once = watched([tile(True, "a", place) for place in ground])
    again = [tile(True, str(n), place) for n in range(50) for place in ground]
    often = watched([tile(True, "a", place) for place in ground] + again)
    assert once.state.votes == often.state.votes == ((840, 1),)
    assert often.state.tiles == 408
    assert not often.alarmed


def test_a_vote_is_the_share_of_the_first_tiles() -> None:
    """3 of the first 8 tiles of a block: 315 of 840; the ninth tile says nothing."""
    inside = [at(2.0 * i - 40.0, 3.0) for i in range(9)]
    sightings = [tile(i in (0, 3, 7, 8), "a", place) for i, place in enumerate(inside)]
    assert watched(sightings).state.votes == ((315, 1),)


def test_a_frame_ends_the_votes_that_it_left_open() -> None:
    """2 of 3 tiles count as 560 of 840 once the next frame begins, and not before."""
    inside = [at(2.0 * i - 40.0, 3.0) for i in range(3)]
    first = [tile(i != 1, "a", place) for i, place in enumerate(inside)]
    watch = watched(first)
    assert watch.state.votes == ()
    watch.see(tile(False, "b", at(900.0, 0.0)))
    assert watch.state.votes == ((560, 1),)
    assert watch.take_news().blocks == (ground_block(inside[0], 50.0, 5.0)[0],)
    assert watch.take_news().blocks == ()


def test_a_tile_that_fills_its_block_votes_at_once() -> None:
    """A mosaic of large tiles is one frame: it must not take its end to count them."""
    seen = [Sighting("mosaic", 0.01, at(110.0 * i, 0.0), 77.0) for i in range(4)]
    assert watched(seen).state.votes == ((840, 4),)


def test_tiles_without_a_place_vote_once_per_frame() -> None:
    """However many tiles a frame has, it has one vote; the same name later has none."""
    seen = [tile(True, name) for name in "aabbba" for _ in range(20)]
    watch = watched(seen)
    assert watch.state.votes == ((840, 2),)
    assert watch.take_news().blocks == (frame_block("a"), frame_block("b"))


@given(st.data())
def test_a_watch_taken_up_again_goes_on_as_if_undisturbed(data: st.DataObject) -> None:
    """State written as JSON and read back at any tile, with the blocks' names, changes nothing."""
    steps = st.tuples(st.booleans(), st.sampled_from("abc"), st.none() | st.integers(0, 400))
    drawn = data.draw(st.lists(steps, max_size=60))
    seen = [tile(s, f, None if x is None else at(float(x), 0.0)) for s, f, x in drawn]
    cut = data.draw(st.integers(0, len(seen)))
    first = watched(seen[:cut])
    state = msgspec.json.decode(msgspec.json.encode(first.state), type=DriftState)
    voted = first.take_news().blocks
    second = SurveyWatch(TEST, state, voted)
    for sighting in seen[cut:]:
        second.see(sighting)
    undisturbed = watched(seen)
    assert second.state == undisturbed.state
    assert voted + second.take_news().blocks == undisturbed.take_news().blocks


def test_the_alarm_stays() -> None:
    """Familiar ground afterwards lowers the share, not the alarm, which keeps its first numbers."""
    rng = np.random.default_rng(4)
    watch = watched(survey(np.ones(6), rng))
    alarm = watch.state.alarm
    assert alarm is not None
    assert (alarm.votes, alarm.tiles, alarm.strange) == (4, 32, 32)
    for sighting in survey(np.zeros(200), rng):
        watch.see(msgspec.structs.replace(sighting, frame=f"later {sighting.frame}"))
    assert watch.state.alarm == alarm
    assert watch.state.share == pytest.approx(6 / 206, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 840), st.integers(1, 50)), max_size=12))
def test_alarm_and_lower_bound_say_the_same(votes: list[tuple[int, int]]) -> None:
    """The bound is above the familiar share just where the capital reaches 1 / alarm, and never
    above the mean vote."""
    bound = drift.at_least(votes, 0.001)
    evidence = drift.log_evidence(votes, 0.125)
    if abs(evidence - math.log(1000)) > 1e-6:
        assert (bound > 0.125) == (evidence > math.log(1000))
    cast = sum(times for _, times in votes)
    mean = sum(vote * times for vote, times in votes) / 840 / cast if cast else 0.0
    assert bound <= mean + 1e-9


def test_memory_of_blocks_is_bounded() -> None:
    """Beyond its most blocks the test counts tiles and takes no more votes."""
    voted = {f"0:0:{n}" for n in range(drift.MAX_BLOCKS)}
    state = DriftState()
    for _ in range(20):
        state, closed = drift.step(state, tile(True, "a", at(0.0, 0.0)), voted, TEST)
        assert closed == ()
    assert (state.tiles, state.cast, state.open) == (20, 0, ())


def test_open_votes_are_bounded_in_a_frame_full_of_holes() -> None:
    """A mosaic that shows one tile of each block: the block left the longest votes with what it
    has, and no tile is counted twice."""
    blocks = drift.MAX_OPEN + 40
    places = [at(100.0 * n + 7.0, 7.0) for n in range(blocks)]
    names = [ground_block(place, 50.0, 5.0)[0] for place in places]
    watch = watched([tile(n == 0, "a", place) for n, place in enumerate(places)])
    assert len(watch.state.open) == drift.MAX_OPEN
    assert watch.take_news().blocks == tuple(names[:40])
    assert watch.state.votes == ((0, 39), (840, 1))
    watch.see(tile(True, "a", places[0]))
    watch.see(tile(True, "b", None))
    assert watch.state.cast == blocks


@given(st.floats(-89.9, 89.9), st.floats(-180, 180), st.floats(-24, 24), st.floats(-24, 24))
def test_blocks_are_as_large_as_they_say(
    latitude: float, longitude: float, east_m: float, north_m: float
) -> None:
    """Two points in one block are within its diagonal; 120 m north is always another block."""
    here = Position(longitude, latitude)
    there = at(east_m, north_m, latitude, longitude)
    north = at(0.0, 120.0, latitude, longitude)
    if abs(there.latitude) <= 90.0 and ground_block(here, 50.0, 5.0) == ground_block(
        there, 50.0, 5.0
    ):
        assert math.hypot(east_m, north_m) <= 50.0 * math.sqrt(2) * 1.1
    if north.latitude <= 90.0:
        assert ground_block(here, 50.0, 5.0) != ground_block(north, 50.0, 5.0)


def test_the_grid_closes_at_the_dateline_and_at_the_poles() -> None:
    """A hand's breadth across 180 degrees, or any longitude at the pole, is the same block."""
    east, west = Position(180.0, 0.0), Position(-180.0, 0.0)
    assert ground_block(east, 50.0, None) == ground_block(west, 50.0, None)
    poles = {ground_block(Position(float(lon), 90.0), 50.0, None)[0] for lon in range(-180, 181, 7)}
    assert len(poles) == 1


def test_blocks_grow_with_the_tiles() -> None:
    """Tiles of 5, 30, 50 and 77 m: a block takes 100, 1, 1, and at 100 m again 1 of them."""
    found = [ground_block(at(0, 0), 50.0, extent) for extent in (5.0, 30.0, 50.0, 77.0, None)]
    assert [fitting for _, fitting in found] == [100, 1, 1, 1, 1]
    assert [block.split(":")[0] for block, _ in found] == ["0", "0", "0", "1", "0"]


@pytest.mark.parametrize("place", [(math.nan, 0.0), (0.0, math.inf), (0.0, 91.0)])
def test_places_that_are_none_count_by_frame(place: tuple[float, float]) -> None:
    """A position that is no place on earth is as good as none."""
    with pytest.raises(ValueError, match="no place"):
        ground_block(Position(*place), 50.0, 5.0)
    watch = watched([tile(True, "a", Position(*place)) for _ in range(8)])
    assert watch.take_news().blocks == (frame_block("a"),)
