"""Samples found, ordered and spoken of: queries, words and the map."""

from __future__ import annotations

import pytest

from server_sync.curation import queries, summary, words
from server_sync.domain import SampleKey, State
from server_sync.web import survey_map


def found(shelf, **wanted):
    with shelf.metadata.reading() as connection:
        wanted = queries.Filter(**wanted)
        result = queries.find(connection, wanted)
        assert queries.count(connection, wanted) == len(result)
        return result


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ({}, 14),
        ({"outcome": "pictures"}, 13),
        ({"outcome": State.STORED}, 12),
        ({"outcome": State.WANTED}, 1),
        ({"label": "river"}, 4),
        ({"device": "drone-1"}, 6),
        ({"survey": "survey <b> & c"}, 4),
        ({"reason": "audit"}, 6),
        ({"reason": "score"}, 8),
        ({"reason": "score:entropy", "device": "drone-1", "label": "forest"}, 1),
        ({"reason": "scor"}, 0),
        ({"label": "%"}, 0),
    ],
)
def test_filters_find_what_they_name(shelf, wanted, number):
    """Counted by hand on the fixture: each filter alone and together."""
    assert len(found(shelf, **wanted)) == number


def test_orders(shelf):
    """By value falling; by device, boot and sequence rising."""
    values = [sample.value for sample in found(shelf)]
    assert values == sorted(values, reverse=True)
    with shelf.metadata.reading() as connection:
        keys = [
            (sample.key.device, sample.boot, sample.sequence)
            for sample in queries.every(connection, queries.Filter())
        ]
    assert keys == sorted(keys)


@pytest.mark.parametrize("order", ["value", "sequence"])
@pytest.mark.parametrize("wanted", [queries.Filter(), queries.Filter(reason="audit")])
def test_stepping_goes_through_all_once(shelf, order, wanted):
    """Next from the first visits every sample of the selection in order, previous comes back."""
    with shelf.metadata.reading() as connection:
        listed = [sample.key for sample in queries.find(connection, wanted, order)]
        walked = [listed[0]]
        while True:
            sample = queries.get(connection, walked[-1])
            before, after = queries.neighbours(connection, wanted, sample, order)
            assert before == (walked[-2] if len(walked) > 1 else None)
            if after is None:
                break
            walked.append(after)
    assert walked == listed


def test_choices_count_under_the_other_filters(shelf):
    """Each list says how many samples its value would give with the other filters kept."""
    with shelf.metadata.reading() as connection:
        got = queries.choices(connection, queries.Filter(device="drone-1", reason="audit"))
    assert {choice.value: choice.count for choice in got.devices} == {"drone-1": 3, "drone-2": 3}
    assert {choice.value: choice.count for choice in got.reasons} == {
        "audit": 3,
        "score:entropy": 3,
    }


def test_totals_agree_with_the_fixture(shelf):
    """Counts, bytes and outcomes by hand."""
    with shelf.metadata.reading() as connection:
        totals = summary.totals(connection)
    assert totals.samples == 14
    assert totals.outcomes == {"stored": 12, "duplicate": 1, "wanted": 1}
    assert totals.pictures == 12
    files = [path for path in (shelf.folder / "blobs").rglob("*") if path.is_file()]
    assert totals.picture_bytes == sum(path.stat().st_size for path in files)


def test_reasons_in_words(shelf):
    """The sentences that explain a sample, whole."""
    sample = found(shelf, reason="score:entropy", outcome=State.STORED)[0]
    assert words.main_reason(sample) == "High entropy"
    assert words.explain(sample) == [
        (
            "Entropy 1.92 is higher than for 99.1 % of familiar tiles (p = 0.009). "
            "The policy keeps tiles beyond 98 %."
        )
    ]
    assert words.score_sentence(sample, "max_logit") == (
        "Maximum logit 4 is lower than for 60 % of familiar tiles (p = 0.4)."
    )
    audit = found(shelf, reason="audit")[0]
    assert words.explain(audit) == [
        (
            "Drawn at random from all valid tiles, 2.0 % of them, to judge the policy by, "
            "whatever it shows."
        )
    ]
    assert words.finding_sentence(audit.findings[0]) == "Flicker: flagged (excess 0.25)."


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1"), (0.00571, "0.00571"), (1234.5, "1234"), (-0.05, "−0.05"),
     (99.96, "100"), (3e-7, "3.00e−07"), (0.1 + 0.2, "0.3")],
)  # fmt: skip
def test_numbers_in_words(value, text):
    """Three significant digits, a real minus sign."""
    assert words.number(value) == text


def test_shares_and_sizes_in_words():
    """Nearly all is never called all, and bytes are in powers of ten."""
    assert words.share_beyond(0.0004) == "99.96 %"
    assert words.share_beyond(1e-9) == "more than 99.9999 %"
    assert words.share_beyond(1.0) == "0 %"
    assert [words.percent(p) for p in (0.0, 0.0004, 0.021, 0.5, 0.9996, 1.0)] == [
        "0 %", "< 0.1 %", "2.1 %", "50 %", "99.9 %", "100 %",
    ]  # fmt: skip
    assert [words.byte_size(n) for n in (999, 1500, 999_700, 2_345_678)] == [
        "999 B", "1.5 kB", "1.0 MB", "2.3 MB",
    ]  # fmt: skip


def spot(name, longitude, latitude, sigma=None):
    return queries.Spot(SampleKey("d", name), longitude, latitude, sigma)


def test_the_map_is_true_to_scale_with_north_up():
    """Two points 100 m apart lie as many bar lengths apart as the bar says; north is up."""
    here = spot("a", 8.0, 46.0, sigma=10.0)
    north = spot("b", 8.0, 46.0 + 100 / 111_195)
    east = spot("c", 8.0 + 100 / (111_195 * 0.694658), 46.0)
    drawn = survey_map.draw(here, [north, east])
    metres = float(drawn.bar_label.removesuffix(" m"))
    unit = drawn.bar / metres
    up, right = drawn.dots
    assert (up.x, up.y) == pytest.approx((drawn.here.x, drawn.here.y - 100 * unit), abs=0.1)
    assert (right.x, right.y) == pytest.approx((drawn.here.x + 100 * unit, drawn.here.y), abs=0.1)
    assert drawn.sigma == pytest.approx(10 * unit, abs=0.01)


@pytest.mark.parametrize(
    ("longitude", "latitude"), [(179.9999, 10.0), (-180.0, -89.9999), (0.0, 90.0), (7.5, 0.0)]
)
def test_maps_at_the_edges_of_the_world(longitude, latitude):
    """At the dateline the short way counts; at the poles all stays within the drawing."""
    across = (longitude + 0.0003 + 180) % 360 - 180
    drawn = survey_map.draw(
        spot("a", longitude, latitude),
        [spot("b", across, latitude), spot("c", longitude, latitude)],
    )
    assert drawn.extent_m < 200
    for dot in (*drawn.dots, drawn.here):
        assert 0 <= dot.x <= survey_map.WIDTH
        assert 0 <= dot.y <= survey_map.HEIGHT
    assert len(drawn.meridians) < 12
    assert len(drawn.parallels) < 12


def test_graticule_lines_lie_where_their_labels_say():
    """Label and position of each line agree with the projection of that degree."""
    here = spot("a", 7.512, 46.2118)
    drawn = survey_map.draw(here, [spot("b", 7.5139, 46.2101)])
    for line in drawn.parallels:
        degrees = float(line.label.split("°")[0])
        probe = survey_map.draw(here, [spot("b", 7.5139, 46.2101), spot("c", 7.513, degrees)])
        if probe.extent_m == drawn.extent_m:
            assert probe.dots[1].y == pytest.approx(line.at, abs=0.5)
    assert drawn.parallels
    assert drawn.meridians
