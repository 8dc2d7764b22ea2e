"""Settings files: everything wrong at once, in words, and never another error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from operations.errors import ExitCode, SettingsError
from operations.settings_file import load, parse


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    ca: str | None = None


class Broker(Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    tls: Tls | None = None


class Imagery(Struct, frozen=True, forbid_unknown_fields=True):
    overlap: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    tile_px: Annotated[int, Meta(gt=0, multiple_of=32)] = 128
    bands: Annotated[tuple[int, ...], Meta(min_length=1, max_length=3)] = (1, 2, 3)
    encoding: Literal["jpeg", "webp", "png"] = "jpeg"
    threads: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.encoding == "png" and self.overlap > 0.5:
            raise ValueError("png with more than half overlap fills the queue")


class Region(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=8)]
    weight: float = 1.0


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    imagery: Imagery = Imagery()
    broker: Broker = Broker()
    quantiles: dict[str, Annotated[float, Meta(gt=0, le=1)]] = {}
    regions: list[Region] = []
    audit: bool = True


VALID = """\
audit = false
[imagery]
overlap = 0.25
tile_px = 256
bands = [4, 3, 2]
encoding = "webp"
threads = 2
[broker]
host = "base.example"
[broker.tls]
ca = "/etc/ca.pem"
[quantiles]
msp = 0.98
entropy = 1
[[regions]]
name = "north"
"""


def problems_of(text: str) -> dict[str, str]:
    """Message to hint of each problem found in `text`."""
    with pytest.raises(SettingsError) as caught:
        parse(text, Settings, "edge.toml")
    assert caught.value.exit_code is ExitCode.USAGE
    return {problem.message: problem.hint for problem in caught.value.problems}


def test_a_valid_file_becomes_its_structs(tmp_path: Path) -> None:
    """Nested tables, options, lists and free keys arrive as the typed values."""
    file = tmp_path / "edge.toml"
    file.write_bytes(b"\xef\xbb\xbf" + VALID.encode())  # with the mark that Windows editors add
    assert load(file, Settings) == Settings(
        imagery=Imagery(overlap=0.25, tile_px=256, bands=(4, 3, 2), encoding="webp", threads=2),
        broker=Broker(host="base.example", tls=Tls(ca="/etc/ca.pem")),
        quantiles={"msp": 0.98, "entropy": 1.0},
        regions=[Region(name="north")],
        audit=False,
    )


def test_an_empty_file_means_the_defaults() -> None:
    """Every key is optional where the struct has a default."""
    assert parse("", Settings, "edge.toml") == Settings()


def test_all_problems_are_reported_at_once_with_their_paths() -> None:
    """Six mistakes in four tables give six problems, each with the path and what is allowed."""
    found = problems_of(
        """
        audit = 1
        [imagery]
        overlp = 0.2
        tile_px = 100
        encoding = "jpg"
        [broker]
        port = 70000
        [broker.tls]
        ca = 5
        [quantiles]
        msp = 1.5
        [[regions]]
        name = "north"
        [[regions]]
        weight = "much"
        """
    )
    assert found == {
        "audit: 1 is not allowed": "give true or false",
        "imagery.overlp: unknown key": "did you mean `overlap`?",
        "imagery.tile_px: 100 is not allowed": "give a whole number above 0, a multiple of 32",
        'imagery.encoding: "jpg" is not allowed': (
            'did you mean "jpeg"? give one of "jpeg", "png", "webp"'
        ),
        "broker.port: 70000 is not allowed": "give a whole number from 1 to 65535",
        "broker.tls.ca: 5 is not allowed": "give text in quotes",
        "quantiles.msp: 1.5 is not allowed": "give a number above 0 and at most 1",
        'regions[1].weight: "much" is not allowed': "give a number",
        "regions[1].name: missing": "give text in quotes of 1 to 8 characters",
    }


def test_an_unknown_key_that_lives_elsewhere_is_pointed_to() -> None:
    """A key in the wrong table is answered with the table it belongs to."""
    assert problems_of("[imagery]\nport = 1883") == {
        "imagery.port: unknown key": "did you mean `broker.port`?"
    }


def test_an_unknown_key_like_no_other_lists_the_known_ones() -> None:
    """Without a near name the operator sees what the table takes."""
    assert problems_of("[broker]\nzzz = 1") == {
        "broker.zzz: unknown key": "known keys of [broker]: host, port, tls"
    }


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("imagery = 3", "imagery: 3 is not allowed", "a table with the keys overlap, tile_px"),
        ("[imagery]\nbands = []", "imagery.bands: a list is not allowed", "of 1 to 3 items"),
        ("[imagery]\nbands = [1, 2.5]", "imagery.bands[1]: 2.5 is not allowed", "a whole number"),
        ("[imagery]\nthreads = 'all'", 'imagery.threads: "all"', 'a whole number or one of "auto"'),
        (
            "[imagery]\noverlap = nan",
            "imagery.overlap: nan is not a finite",
            "at least 0 and below 1",
        ),
        ("[quantiles]\nmsp = inf", "quantiles.msp: inf is not a finite", "above 0 and at most 1"),
        ("[[regions]]\nname='n'\nweight = 1" + "0" * 400, "regions[0].weight", "a number"),
        ("regions = [1]", "regions[0]: 1 is not allowed", "a table with the keys name, weight"),
        ('quantiles."a b" = 2', 'quantiles."a b": 2 is not allowed', "above 0"),
        ("audit = 2026-01-02", "audit: 2026-01-02 is not allowed", "true or false"),
    ],
)
def test_what_is_allowed_is_said_in_words(text: str, message: str, hint: str) -> None:
    """Each kind of wrong value names its place and what may stand there."""
    ((found, found_hint),) = problems_of(text).items()
    assert message in found
    assert hint in found_hint


def test_values_that_do_not_go_together_are_refused_in_the_structs_own_words() -> None:
    """A struct's check across its fields is reported with the table's path."""
    text = '[imagery]\nencoding = "png"\noverlap = 0.6'
    assert problems_of(text) == {"imagery: png with more than half overlap fills the queue": ""}


def test_a_syntax_error_shows_its_line() -> None:
    """The line number and the line itself are in the message."""
    ((message, hint),) = problems_of("audit = true\nencoding = jpeg\n").items()
    assert "line 2" in message
    assert "encoding = jpeg" in message
    assert "quotes" in hint


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "9" * 10_000])
def test_monstrous_values_are_refused(text: str) -> None:
    """Nesting and numbers beyond what Python reads are a settings error, not a crash."""
    assert problems_of(text)


def test_a_file_that_cannot_be_read_is_a_settings_error(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no UTF-8 each give one clear message."""
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"a = '\xff'")
    for path in (tmp_path / "none.toml", tmp_path, broken):
        with pytest.raises(SettingsError) as caught:
            load(path, Settings)
        assert str(path) in caught.value.summary
        assert len(caught.value.problems) == 1


def test_the_messages_carry_no_control_characters() -> None:
    """A key or value from a hostile file cannot move the operator's cursor."""
    with pytest.raises(SettingsError) as caught:
        parse('"\\u001b[2J" = 1\naudit = "\\u001b[31m"', Settings, "edge.toml")
    assert "\x1b" not in str(caught.value)
    assert len(caught.value.problems) == 2


def settings_or_error(text: str) -> Settings | SettingsError:
    """What `text` means, or why it is refused; any other error passes through and fails."""
    try:
        return parse(text, Settings, "edge.toml")
    except SettingsError as error:
        return error


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The valid file with a few bytes cut, put in or turned round."""
    data = bytearray(VALID.encode())
    pieces = st.one_of(
        st.binary(max_size=4),
        st.sampled_from(
            [b"[", b"]", b"=", b"\n", b'"', b"nan", b"-inf", b"1e999", b"{}", b"[[a]]"]
        ),
    )
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 12))] = draw(pieces)
    return bytes(data)


@settings(deadline=None)
@given(damaged())
@example(b"audit = true\n[imagery]\noverlap = 1e999")
def test_damage_raises_a_settings_error_or_nothing(data: bytes) -> None:
    """A damaged file is refused with at least one problem, or is still a valid one."""
    outcome = settings_or_error(data.decode("utf-8", errors="replace"))
    if isinstance(outcome, SettingsError):
        assert outcome.problems
    else:
        assert 0 <= outcome.imagery.overlap < 1
        assert all(0 < q <= 1 for q in outcome.quantiles.values())


TOML_VALUES = st.recursive(
    st.one_of(
        st.booleans().map(lambda b: str(b).lower()),
        st.integers().map(str),
        st.floats().map(repr),
        st.sampled_from(['"jpeg"', "'x'", "2026-01-02", "03:04:05", "2026-01-02T03:04:05Z"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.dictionaries(st.sampled_from(["ca", "name", "weight", "x"]), inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{k} = {v}" for k, v in table.items()) + "}"
        ),
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["audit", "imagery", "imagery.overlap", "imagery.tile_px", "imagery.bands", "imagery.threads",
     "broker", "broker.tls", "broker.tls.ca", "quantiles", "quantiles.a", "regions", "nothing"]
)  # fmt: skip


@settings(deadline=None)
@given(KEYS, TOML_VALUES)
def test_any_value_at_any_key_is_taken_or_refused_under_that_key(key: str, value: str) -> None:
    """Whatever TOML can say, each problem names a path that begins with the key that was set."""
    outcome = settings_or_error(f"{key} = {value}")
    if isinstance(outcome, SettingsError):
        assert all(problem.message.startswith(key) for problem in outcome.problems)
