"""Which execution provider runs the model: the words for them, and who steps in for whom."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.providers import CPU, NAMES, Plan, mistakes, plan, start, warning
from edge_agent.inference.session import InferenceSettings, Session
from edge_agent.settings import EdgeSettings
from operations import settings_file
from operations.errors import SettingsError

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
GPU_BUILD = [TENSORRT, CUDA, CPU]


def refused(line: str) -> str:
    """The message for a line under [inference]."""
    with pytest.raises(SettingsError) as caught:
        settings_file.parse(f"[inference]\n{line}", EdgeSettings, "edge.toml")
    return str(caught.value)


def test_every_name_of_onnxruntime_and_every_plain_one_is_a_setting() -> None:
    """Plain in any spelling of case, or as the installed onnxruntime lists them."""
    for word in [*NAMES, "TensorRT", "CUDA", "OpenVINO", "CoreML", *ort.get_all_providers()]:
        text = f'[inference]\nproviders = ["{word}"]'
        settings = settings_file.parse(text, EdgeSettings, "edge.toml")
        assert settings.inference.providers == (word,)


def test_plain_names_mean_what_onnxruntime_knows() -> None:
    """No typing mistake in the table: all but ROCm's, gone from onnxruntime, are in its list."""
    known = {*ort.get_all_providers(), "ROCMExecutionProvider"}
    assert {name for names in NAMES.values() for name in names} <= known


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("tensort", "tensorrt"),
        ("cudaa", "cuda"),
        ("OpenVinoExecutionProvidr", None),
        ("TensorRtxExecutionProvider", "tensorrt"),
        ("cpuexecutionprovder", None),
        ("ryzen", None),
    ],
)
def test_an_unknown_word_is_refused_when_the_settings_load(word: str, nearest: str | None) -> None:
    """With the nearest known name, where there is one, and all plain ones."""
    message = refused(f'providers = ["{word}"]')
    assert f'inference: providers: "{word}" is no execution provider' in message
    assert ", ".join(NAMES) in message
    if nearest is not None:
        assert f'did you mean "{nearest}"?' in message


def test_all_mistakes_at_once() -> None:
    """Two unknown words and one after the CPU, which would never get work."""
    message = refused('providers = ["cudda", "cpu", "onix"]')
    for part in ('"cudda" is no', '"onix" is no', '"onix" after "cpu", which takes all'):
        assert part in message
    assert mistakes(["cuda", "cpu"]) == mistakes([]) == mistakes([CPU]) == []


@pytest.mark.parametrize(
    ("wanted", "available", "present", "absent"),
    [
        ((), [CPU], (CPU,), ()),
        (("cpu",), GPU_BUILD, (CPU,), ()),
        (("tensorrt", "cuda", "cpu"), GPU_BUILD, (TENSORRT, CUDA, CPU), ()),
        (("cuda", CUDA), GPU_BUILD, (CUDA, CPU), ()),
        (("tensorrt", "openvino", "cuda"), [CUDA, CPU], (CUDA, CPU), ("tensorrt", "openvino")),
        (("rocm",), ["MIGraphXExecutionProvider", CPU], ("MIGraphXExecutionProvider", CPU), ()),
        (
            ("rocm",),
            ["MIGraphXExecutionProvider", "ROCMExecutionProvider", CPU],
            ("ROCMExecutionProvider", CPU),
            (),
        ),
    ],
)
def test_plan(
    wanted: Sequence[str], available: list[str], present: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    """Best first, each once, the CPU last; the absent in the words of the settings."""
    assert plan(wanted, available) == Plan(present, absent)


class Machine:
    """Providers that start here; some of the others refuse aloud, the rest in silence."""

    def __init__(
        self, working: Sequence[str], loud: Sequence[str] = (), alone: Sequence[str] = ()
    ) -> None:
        self._working = set(working)
        self._loud = set(loud)
        self._alone = set(alone)

    def open(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """What onnxruntime does with a list of providers."""
        for name in names:
            if name in self._loud:
                raise RuntimeError(f"{name}: no\n  library")
        if len(self._alone & set(names)) > 1:
            raise RuntimeError("these do not go together")
        in_use = [name for name in names if name in self._working]
        return in_use, in_use


THREE = ["QNNExecutionProvider", TENSORRT, CUDA]


def test_all_that_start_are_used_whatever_the_others_do() -> None:
    """Every machine of three providers that work, fail aloud or drop out in silence."""
    for states in product(["works", "loud", "silent"], repeat=3):
        state = dict(zip(THREE, states, strict=True))
        working = [name for name in THREE if state[name] == "works"]
        loud = [name for name in THREE if state[name] == "loud"]
        opened, lost = start([*THREE, CPU], Machine([*working, CPU], loud).open, (RuntimeError,))
        assert opened == [*working, CPU]
        assert lost == {
            name: f"{name}: no library" if name in loud else ""
            for name in THREE
            if name not in working
        }


def test_providers_that_do_not_go_together_leave_the_cpu() -> None:
    """Each starts by itself, not both: the model still runs, and the line says why so slowly."""
    machine = Machine(GPU_BUILD, alone=[TENSORRT, CUDA])
    opened, lost = start(GPU_BUILD, machine.open, (RuntimeError,))
    assert opened == [CPU]
    assert lost == dict.fromkeys([TENSORRT, CUDA], "these do not go together")


def test_a_long_reason_is_cut_at_a_word() -> None:
    """Its end is kept."""

    def refuse(names: Sequence[str]) -> tuple[None, list[str]]:
        if len(names) > 1:
            raise RuntimeError("source.cc:1 " + "word " * 100 + "libcublas.so.13 is missing")
        return None, [CPU]

    _, lost = start([CUDA, CPU], refuse, (RuntimeError,))
    assert lost[CUDA].startswith("... word word")
    assert lost[CUDA].endswith("libcublas.so.13 is missing")
    assert len(lost[CUDA]) < 250


def test_a_failure_of_the_cpu_is_nobody_elses() -> None:
    """A model that loads nowhere raises the CPU's own error."""
    with pytest.raises(RuntimeError, match=CPU):
        start(GPU_BUILD, Machine([], GPU_BUILD[::-1]).open, (RuntimeError,))
    with pytest.raises(RuntimeError, match=CPU):
        start([CPU], Machine([], [CPU]).open, (RuntimeError,))


def test_one_line_says_all() -> None:
    """Absent, loud and silent in one warning, with what runs instead; none where all is well."""
    text = warning(
        Plan((TENSORRT, CUDA, CPU), ("qnn",)), GPU_BUILD, {TENSORRT: "no library", CUDA: ""}, [CPU]
    )
    assert text == (
        "execution providers: this onnxruntime has no qnn (it has tensorrt, cuda, cpu); "
        "tensorrt did not start: no library; "
        "cuda did not start: are its device and its libraries there?; running on cpu"
    )
    assert warning(Plan((CUDA, CPU), ()), GPU_BUILD, {}, [CUDA, CPU]) is None


def absent_here() -> list[str]:
    """Two plain names that the installed onnxruntime lacks."""
    here = ort.get_available_providers()
    return [word for word, names in NAMES.items() if not set(names) & set(here)][:2]


def test_absent_providers_fall_back_with_one_warning(
    tiny_bundle: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    """The real runtime: the model runs on the CPU, one line names both, nothing else is said."""
    settings = InferenceSettings(providers=(*absent_here(), "cpu"))
    session = Session(read_bundle(tiny_bundle()), settings)
    tiles = np.zeros((1, 32, 32, 3), np.uint8)
    assert session.run(session.prepare(tiles)).logits.shape == (1, 4)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for word in absent_here():
        assert word in record.getMessage()
    printed, logged = capfd.readouterr()
    assert printed == ""
    # A command run by an earlier test may have left its log handler, which writes our one line.
    assert [line for line in logged.splitlines() if record.getMessage() not in line] == []
    assert not recwarn.list


def test_an_ensemble_warns_once(
    tiny_ensemble: Callable[..., Path],
    make_linear: Callable[..., object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not once per member."""
    weights = np.random.default_rng(0).normal(size=(3, 3, 4))
    folder = tiny_ensemble([make_linear(weight) for weight in weights])
    Session(read_bundle(folder), InferenceSettings(providers=tuple(absent_here())))
    assert len(caplog.records) == 1


def test_the_cpu_alone_warns_of_nothing(
    tiny_bundle: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The default is quiet."""
    Session(read_bundle(tiny_bundle()), InferenceSettings())
    assert not caplog.records
