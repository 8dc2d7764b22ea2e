"""Execution providers: names that people use, what onnxruntime calls them, who steps in."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

import onnxruntime as ort

T = TypeVar("T")

_SHOWN: Final = 240

CPU: Final = "CPUExecutionProvider"
NAMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "cpu": (CPU,),
        "cuda": ("CUDAExecutionProvider",),
        "tensorrt": ("TensorrtExecutionProvider",),
        "openvino": ("OpenVINOExecutionProvider",),
        "xnnpack": ("XnnpackExecutionProvider",),
        "qnn": ("QNNExecutionProvider",),
        "coreml": ("CoreMLExecutionProvider",),
        "migraphx": ("MIGraphXExecutionProvider",),
        # Newer onnxruntimes reach AMD's ROCm by MIGraphX alone.
        "rocm": ("ROCMExecutionProvider", "MIGraphXExecutionProvider"),
        "directml": ("DmlExecutionProvider",),
        "nnapi": ("NnapiExecutionProvider",),
        "dnnl": ("DnnlExecutionProvider",),
        "vitisai": ("VitisAIExecutionProvider",),
        "rknpu": ("RknpuExecutionProvider",),
        "cann": ("CANNExecutionProvider",),
    }
)
"""Plain name -> onnxruntime's names for it, of which the first present one is used."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What of the wanted providers this onnxruntime has."""

    present: tuple[str, ...]
    """onnxruntime's names, best first; the CPU is always the last."""
    absent: tuple[str, ...]
    """The others, in the words of the settings."""


def mistakes(wanted: Sequence[str]) -> list[str]:
    """What is wrong with a list of providers, in words."""
    found = [_unknown(word) for word in wanted if not _candidates(word)]
    places = [place for place, word in enumerate(wanted) if CPU in _candidates(word)]
    if places and places[0] < len(wanted) - 1:
        after = ", ".join(f'"{word}"' for word in wanted[places[0] + 1 :])
        found.append(f'{after} after "cpu", which takes all: put the best first')
    return found


def plan(wanted: Sequence[str], available: Sequence[str]) -> Plan:
    """Sort `wanted` into what `available` (onnxruntime's names) has and what it lacks."""
    present: list[str] = []
    absent: list[str] = []
    for word in wanted:
        found = [name for name in _candidates(word) if name in available]
        if found and found[0] not in present:
            present.append(found[0])
        elif not found:
            absent.append(word)
    return Plan((*(name for name in present if name != CPU), CPU), tuple(absent))


def start(
    names: Sequence[str],
    opened_with: Callable[[Sequence[str]], tuple[T, Sequence[str]]],
    failures: tuple[type[Exception], ...],
) -> tuple[T, dict[str, str]]:
    """Open something with all of `names` that start; name -> why for those that do not.

    `names` end in the CPU. `opened_with` takes such a list and returns what it opened and the
    providers in use: onnxruntime drops some that do not start in silence, and raises `failures`
    for others. Then each is tried by itself to know which. What the CPU raises is raised: no
    provider is to blame for it.
    """
    reasons: dict[str, str] = {}
    try:
        opened, in_use = opened_with(names)
    except failures as error:
        if len(names) == 1:
            raise
        reasons = _failing(names[:-1], opened_with, failures)
        rest = [name for name in names if name not in reasons]
        try:
            opened, in_use = opened_with(rest)
        except failures:
            if len(rest) == 1:
                raise
            # Each starts, but not all together.
            reasons |= dict.fromkeys(rest[:-1], _in_a_line(error))
            opened, in_use = opened_with([CPU])
    return opened, {name: reasons.get(name, "") for name in names if name not in in_use}


def _failing(
    names: Sequence[str],
    opened_with: Callable[[Sequence[str]], object],
    failures: tuple[type[Exception], ...],
) -> dict[str, str]:
    reasons = {}
    for name in names:
        try:
            opened_with([name, CPU])
        except failures as error:
            reasons[name] = _in_a_line(error)
    return reasons


def _in_a_line(error: Exception) -> str:
    """The end of the message, where onnxruntime says what is the matter."""
    text = " ".join(str(error).split())
    return text if len(text) <= _SHOWN else "... " + text[-_SHOWN:].partition(" ")[2]


def warning(
    plan_: Plan, available: Sequence[str], lost: Mapping[str, str], in_use: Sequence[str]
) -> str | None:
    """One line about all that was wanted and is not there; None when all is."""
    parts = []
    if plan_.absent:
        has = ", ".join(map(plain, available))
        parts.append(f"this onnxruntime has no {', '.join(plan_.absent)} (it has {has})")
    for name, reason in lost.items():
        why = reason or "are its device and its libraries there?"
        parts.append(f"{plain(name)} did not start: {why}")
    if not parts:
        return None
    return f"execution providers: {'; '.join(parts)}; running on {', '.join(map(plain, in_use))}"


def plain(name: str) -> str:
    """The plain name of what onnxruntime calls `name`; itself where it has none."""
    return next((word for word, names in NAMES.items() if name in names), name)


def with_threads(name: str, threads: int) -> tuple[str, dict[str, str]]:
    """The provider with its own options; some have threads beside onnxruntime's.

    `num_of_threads` and `intra_op_num_threads` are onnxruntime's documented options of the
    OpenVINO and the XNNPACK provider. 0 threads leave the choice to them.
    """
    option = _THREAD_OPTIONS.get(name)
    return (name, {option: str(threads)} if option and threads else {})


_THREAD_OPTIONS: Final = {
    "OpenVINOExecutionProvider": "num_of_threads",
    "XnnpackExecutionProvider": "intra_op_num_threads",
}


def _candidates(word: str) -> tuple[str, ...]:
    lower = word.strip().lower()
    if lower in NAMES:
        return NAMES[lower]
    return tuple(name for name in _full_names() if name.lower() == lower)


def _full_names() -> list[str]:
    known = [name for names in NAMES.values() for name in names]
    return list(dict.fromkeys([*known, *ort.get_all_providers()]))


def _unknown(word: str) -> str:
    known = {_stem(name): name for name in [*_full_names(), *NAMES]}
    close = difflib.get_close_matches(_stem(word), known, n=1)
    nearest = f'did you mean "{known[close[0]]}"? ' if close else ""
    return f'"{word}" is no execution provider: {nearest}known are {", ".join(NAMES)}'


def _stem(name: str) -> str:
    return name.strip().lower().removesuffix("executionprovider")
