"""Logs: one line per record whatever it carries, and the journal's form under systemd."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operations.errors import SettingsError
from operations.logs import OneLine, set_up

PROGRAM = """
import logging
from operations import logs
logs.set_up({level!r})
log = logging.getLogger("edge_agent.filter")
log.debug("looking")
log.info("opened %s", "a.jpg", extra={{"frame": "a b.jpg", "tiles": 12}})
log.warning("two\\nlines \\x1b[31m")
logging.getLogger("somebody.else").info("chatter")
try:
    raise ValueError("no number")
except ValueError:
    log.exception("bad number")
"""


def run(level: str | None, **environment: str) -> list[str]:
    """Lines on stderr of a process that logs at `level`."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(level=level)],
        capture_output=True, text=True, check=True, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_record_is_one_line_with_time_level_name_and_values() -> None:
    """Newlines and escapes are written out, values quoted where needed, tracebacks folded."""
    lines = run(None, TILESIFT_LOG="")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
    assert [re.sub("^" + stamp, "", line) for line in lines] == [
        'INFO edge_agent.filter opened a.jpg frame="a b.jpg" tiles=12',
        r"WARNING edge_agent.filter two\nlines \x1b[31m",
        'ERROR edge_agent.filter bad number error="ValueError: no number" at=<string>:11',
    ]
    assert all(re.match(stamp, line) for line in lines)


def test_debug_shows_more_and_the_whole_traceback_still_on_one_line() -> None:
    """The option wins over the variable; the libraries stay quiet."""
    lines = run("debug", TILESIFT_LOG="error")
    assert len(lines) == 4
    assert lines[0].endswith("DEBUG edge_agent.filter looking")
    assert r"traceback=Traceback (most recent call last):\n" in lines[3]


def test_the_variable_sets_the_level() -> None:
    """TILESIFT_LOG=error leaves errors alone."""
    assert [line.split()[1] for line in run(None, TILESIFT_LOG="error")] == ["ERROR"]


def test_an_unknown_level_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake in the option or the variable names what there is."""
    monkeypatch.setenv("TILESIFT_LOG", "loud")
    for level, origin in ((None, "TILESIFT_LOG"), ("chatty", "--log-level")):
        with pytest.raises(SettingsError, match=origin) as caught:
            set_up(level)
        assert "debug, info, warning, error" in caught.value.problems[0].hint


def test_under_the_journal_the_prefix_is_the_level_and_there_is_no_time(tmp_path: Path) -> None:
    """Where JOURNAL_STREAM is this very stderr, lines begin with the syslog level."""
    file = tmp_path / "journal"
    with file.open("wb") as stream:
        found = os.fstat(stream.fileno())
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(level="debug")],
            stderr=stream, check=True,
            env={**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
        )  # fmt: skip
    lines = file.read_text().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>"]
    assert lines[1].startswith("<6>edge_agent.filter opened a.jpg")


def test_stderr_sent_elsewhere_by_a_service_keeps_the_time() -> None:
    """An inherited JOURNAL_STREAM that is not this stderr changes nothing."""
    assert run("error", JOURNAL_STREAM="1:2")[0].startswith("20")


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.sampled_from(["frame", "why"]), st.text()))
def test_any_text_makes_one_printable_line(text: str, extra: dict[str, str]) -> None:
    """No message or value can break the line or carry a control character."""
    record = logging.makeLogRecord({"name": "edge_agent", "msg": text, **extra})
    assert OneLine(journal=False, tracebacks=False).format(record).isprintable()
