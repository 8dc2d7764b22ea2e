"""Ensembles that are refused before a flight, and each wrong member by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.inference.bundle import BundleError, read_bundle
from edge_agent.inference.session import InferenceSettings, Session

MakeModel = Callable[..., Any]
MakeEnsemble = Callable[..., Path]

WEIGHTS = np.random.default_rng(5).normal(size=(3, 3, 4))
"""Of three members: (M, D, C)."""


def test_every_wrong_member_is_named_at_once(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """Another class count, weights that are not finite, garbage: three members, three problems."""
    broken = WEIGHTS[0].copy()
    broken[0, 0] = np.nan
    folder = tiny_ensemble(
        [make_linear(WEIGHTS[0]), make_linear(WEIGHTS[1][:, :3]), make_linear(broken), b"no model"]
    )
    with pytest.raises(BundleError) as caught:
        Session(read_bundle(folder), InferenceSettings())
    found = [problem.message for problem in caught.value.problems]
    assert len(found) == 3
    assert found[0].startswith("member m1.onnx: logits of 2 tiles have shape (2, 3)")
    assert found[1].startswith("member m2.onnx: logits of a probe tile are not finite")
    assert found[2].startswith("m3.onnx cannot be loaded")


def test_a_member_without_the_embedding_is_named(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """What bundle.toml names every member must have."""
    without = make_linear(WEIGHTS[1])
    del without.graph.output[1]
    folder = tiny_ensemble([make_linear(WEIGHTS[0]), without])
    with pytest.raises(BundleError, match=r"member m1\.onnx: the model has no output 'embedding'"):
        Session(read_bundle(folder), InferenceSettings())


def test_changed_and_missing_member_files_are_found(
    tiny_ensemble: MakeEnsemble, make_linear: MakeModel
) -> None:
    """Every member's file is compared with its hash, all before any is loaded."""
    folder = tiny_ensemble([make_linear(weight) for weight in WEIGHTS])
    (folder / "m0.onnx").write_bytes(b"other")
    (folder / "m2.onnx").unlink()
    with pytest.raises(BundleError) as caught:
        read_bundle(folder)
    found = [problem.message for problem in caught.value.problems]
    assert len(found) == 2
    assert found[0].startswith("m0.onnx has sha256")
    assert found[1].startswith("cannot read m2.onnx")


def network(table: str, file: str, digit: str) -> str:
    """A table of bundle.toml; the hash is one digit over and over."""
    return f'{table}\nfile = "{file}"\nsha256 = "{64 * digit}"'


MODEL = network("[model]", "m.onnx", "a")
ONE, TWO = network("[[members]]", "m.onnx", "a"), network("[[members]]", "n.onnx", "b")
COPY = network("[[members]]", "n.onnx", "a")
ELSEWHERE = network("[[members]]", "../m.onnx", "c")
CROWD = [network("[[members]]", f"m{n}.onnx", "a") for n in range(17)]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([ONE], "one member is no ensemble"),
        ([], "no model"),
        ([MODEL, TWO], "both [model] and [[members]]"),
        ([ONE, TWO, COPY], "members stand twice: n.onnx"),
        (CROWD, "17 members, more than 16"),
        ([ELSEWHERE, TWO], "'../m.onnx' is not a plain file name"),
    ],
)
def test_what_is_no_ensemble(
    tiny_bundle: Callable[..., Path], tables: list[str], expected: str
) -> None:
    """One member, none, two ways at once, copies, a crowd, a file elsewhere: refused in words."""
    with pytest.raises(BundleError) as caught:
        read_bundle(tiny_bundle(model="\n".join(tables), sha256=""))
    assert expected in [problem.message for problem in caught.value.problems]
