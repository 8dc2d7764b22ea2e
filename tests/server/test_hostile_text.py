"""What a device may say, whatever it says, is shown: on pages, in the terminal, in an export."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from server_sync.cli.commands import app
from server_sync.curation import words
from server_sync.domain import State
from server_sync.settings import WebSettings
from server_sync.store import descriptions, quarantine
from server_sync.web.app import create_app
from sync_protocol import codec, topics
from sync_protocol import messages as m

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [1e308, -1e308, 5e-324, -0.0, 1.0 - 2**-53, 1.0 + 2**-52, 0.995, 1e-4]
)
SHARES = st.floats(0.0, 1.0)
NASTY = st.sampled_from(
    ["[/]", "[/bold] [red]x", "a\x1b[2Jb", "\x9b31m", "a\u202eb", "<b>&\"'", ":smile:", "\\", "",
     "score:", "audit", "score:entropy", "audit:x", "2025-06-14 08:13:35.250000+00:00", "\0",
     "9999-12-31T23:59:59+00:01", "{{ 7 * 7 }}", "\u2028", "\r\n", "\U0001f6f0\ufe0f"]
)  # fmt: skip
TEXTS = NASTY | st.text(st.characters(codec="utf-8"), max_size=24)
RAW = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")


def tables(values):
    return st.dictionaries(TEXTS, values, max_size=4)


def descriptions_of(payload, shares):
    """Any description of `payload`; within the protocol's bounds if `shares` is."""
    places = st.builds(
        m.Place,
        longitude=st.floats(-180.0, 180.0),
        latitude=st.floats(-90.0, 90.0),
        sigma_m=st.none() | st.floats(0.0, 1.7e308),
    )
    evidence = NUMBERS | TEXTS | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    counters = st.integers(0, 2**63 - 1)
    sides = st.integers(0, 2**32 - 1)
    return st.builds(
        m.SampleDescription,
        sample_id=st.just("0" * 32),
        boot=counters,
        sequence=counters,
        survey=TEXTS,
        frame=TEXTS,
        row=sides,
        column=sides,
        width=sides,
        height=sides,
        gsd_m=st.none() | st.floats(5e-324, 1.7e308),
        place=st.none() | places,
        captured_at=st.none() | TEXTS.map(lambda text: text[:40]),
        clock=st.sampled_from(["gps", "exif", "file", "unknown"]),
        bundle=TEXTS,
        bundle_sha256=st.just(b"\1" * 32),
        policy=TEXTS,
        probabilities=tables(shares),
        scores=st.dictionaries(TEXTS | st.sampled_from(["entropy", "msp"]), NUMBERS, max_size=4),
        p_values=st.dictionaries(TEXTS | st.sampled_from(["entropy", "msp"]), shares, max_size=4),
        findings=st.lists(
            st.builds(
                m.Finding,
                rule=TEXTS,
                state=st.sampled_from(["ok", "flag", "unknown", "inactive"]),
                evidence=tables(evidence),
            ),
            max_size=3,
        ).map(tuple),
        reasons=st.lists(
            st.builds(
                m.Reason,
                code=TEXTS,
                numbers=st.dictionaries(
                    TEXTS | st.sampled_from(["share", "quantile", "p_value"]), NUMBERS, max_size=3
                ),
            ),
            max_size=3,
        ).map(tuple),
        value=shares,
        quality=st.none() | st.floats(0.0, 5.0),
        inclusion_probability=st.none() | shares,
        payload_sha256=st.just(hashlib.sha256(payload).digest()),
        payload_size=st.just(len(payload)),
        payload_type=st.just("image/png"),
        payload=st.just(payload),
    )


PIXELS = b"\x89PNG: no decoder sees these"
_numbers = itertools.count()


class Reader:
    """Looks at one device's samples in every way there is."""

    def __init__(self, shelf):
        self.shelf = shelf
        self.page = create_app(shelf.metadata, shelf.blobs, WebSettings())

    def get(self, path):
        async def ask():
            transport = httpx.ASGITransport(self.page)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                return await http.get(path)

        answer = asyncio.run(ask())
        assert answer.status_code == 200
        return answer.text

    def run(self, *arguments):
        done = CliRunner().invoke(app, [*arguments, "--data", str(self.shelf.folder)])
        assert done.exception is None, done.output
        return done.stdout

    def look(self, device, out):
        assert 'class="card"' in self.get(f"/?device={device}&outcome=all")
        self.get("/?outcome=all")
        self.get(f"/samples/{device}/{'0' * 32}")
        listed = self.run("samples", "list", "--device", device)
        told = self.run("samples", "show", f"{device}/{'0' * 32}")
        assert not RAW.search(listed + told)
        document = self.run("samples", "show", f"{device}/{'0' * 32}", "--json")
        assert not RAW.search(document)
        self.run("samples", "export", str(out), "--device", device)
        return json.loads(document)


def keep(shelf, device, sample):
    """Write a sample down as an older version may have, its bounds unchecked."""
    shelf.blobs.put(PIXELS)
    shelf.blobs.flush()
    with shelf.metadata.writing() as connection:
        descriptions.describe(connection, device, sample, State.STORED, "", 1, exists=False)


LEISURELY = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example opens the store four times
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@LEISURELY
@given(sample=descriptions_of(PIXELS, SHARES))
def test_all_that_a_device_may_send_is_shown(sample, tmp_path, new_shelf, readers):
    """Every offer that decodes renders on each page, in each command and in an export, and the
    JSON gives its texts back unchanged."""
    reader = readers(tmp_path, new_shelf)
    device = f"d-{next(_numbers)}"
    (sample,) = codec.decode(codec.encode(m.Offer(samples=(sample,))), m.Offer).samples
    keep(reader.shelf, device, sample)
    told = reader.look(device, tmp_path / "out" / device)
    assert told["survey"] == sample.survey
    assert told["scores"] == sample.scores


@LEISURELY
@given(sample=descriptions_of(PIXELS, NUMBERS))
def test_rows_out_of_bounds_are_shown(sample, tmp_path, new_shelf, readers):
    """Probabilities and p-values beyond 0 to 1, as older rows may hold, break nothing."""
    reader = readers(tmp_path, new_shelf)
    device = f"d-{next(_numbers)}"
    keep(reader.shelf, device, sample)
    reader.look(device, tmp_path / "out" / device)


@pytest.fixture
def readers():
    """One store and application for all examples of a test."""
    made = []

    def get(folder, new_shelf):
        if not made:
            made.append(Reader(new_shelf(folder)))
        return made[0]

    return get


@given(NUMBERS)
def test_numbers_beyond_all_bounds_have_words(value):
    """No finite number is without words, and no share beyond 0 to 1 passes for one."""
    assert words.number(value)
    for text in (words.percent(value), words.share_beyond(value)):
        assert text.endswith(" %") == (0.0 <= value <= 1.0)


def test_markup_and_escape_codes_reach_the_terminal_as_text(tmp_path, new_shelf, describe):
    """Brackets stay brackets; what would steer a terminal is spelled out."""
    shelf = new_shelf(tmp_path)
    sample = describe(
        PIXELS, "0" * 32, probabilities={"[/]": 0.9}, survey="[/bold] [red]x", frame="a\x1b[2Jb"
    )
    keep(shelf, "d", sample)
    shelf.send(
        "d",
        topics.Kind.STATUS,
        m.Status(boot=1, agent_version="[/]", survey="a\x1b[2Jb", bundle="\u202eb\x9b"),
    )
    with shelf.metadata.writing() as connection:
        quarantine.add(connection, "t", b"", "[/] \x1b[2J", 1, quarantine.Cap())
    reader = Reader(shelf)
    assert "[/]" in reader.run("samples", "list")
    assert "[/bold] [red]x" in reader.run("samples", "list")
    assert r"a\x1b[2Jb" in reader.run("samples", "show", "0")
    told = reader.run("status")
    assert "[/] " in told
    assert r"a\x1b[2Jb" in told
    assert r"\u202eb\x9b" in told
    assert not RAW.search(told)
