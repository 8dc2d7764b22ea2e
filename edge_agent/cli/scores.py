"""`edge-agent scores`: scores and p-values of outputs that were computed elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from edge_agent.cli.options import JsonOption
from edge_agent.domain import Outputs
from edge_agent.inference.arrays_file import read_npz, write_npz
from edge_agent.scoring.calibration import OOD, Calibration, CalibrationError, CalibrationOptions
from edge_agent.scoring.calibration_arrays import read_arrays, written_options
from edge_agent.scoring.references import SCORE_NAMES, lacking, raw_scores
from operations.errors import ExitCode, OperatorError, Problem

Arrays = Mapping[str, npt.NDArray[Any]]


class _UsageError(OperatorError):
    """A flag with a value that it cannot have."""

    exit_code = ExitCode.USAGE


def scores_command(
    calibration: Annotated[
        Path, typer.Argument(help="calibration.npz of a bundle, or raw arrays of familiar tiles.")
    ],
    outputs: Annotated[
        Path, typer.Argument(help="Arrays logits (N,C), features (N,D), member_logits (M,N,C).")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    neighbours: Annotated[
        int | None,
        typer.Option("--neighbours", "-k", min=1, help="k of knn; for raw arrays 50 if not given."),
    ] = None,
    vim_dimension: Annotated[
        int | None,
        typer.Option(min=1, help="Principal dimensions of vim; 64 of 128 features if not given."),
    ] = None,
    gen_power: Annotated[
        float | None, typer.Option(min=1e-6, max=1.0, help="Exponent of gen; 0.1 if not given.")
    ] = None,
    gen_classes: Annotated[
        int | None, typer.Option(min=1, help="Highest classes that gen counts; 10 if not given.")
    ] = None,
    class_minimum: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="A predicted class with so many calibration tiles is ranked by itself; 100 if "
            "not given.",
        ),
    ] = None,
    fuse: Annotated[
        str | None, typer.Option(help="Scores to fuse into ood, joined by commas.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score OUTPUTS against CALIBRATION and write one array per score.

    Written are, for every score, NAME and p_NAME; ood, the fused p-value; ood_statistic, what it
    is the rank of; and for each tile valid and reason, empty where it is valid. Higher scores are
    stranger; small p-values are unusual. Tiles with outputs that are not finite are invalid: their
    numbers are NaN.

    Raw calibration arrays: logits (n,C), features (n,D), labels (n,), head_weight (C,D), head_bias
    (C,), member_logits (M,n,C). What is missing leaves out the scores that need it.
    """
    given = {
        "neighbours": neighbours,
        "vim_dimension": vim_dimension,
        "gen_power": gen_power,
        "gen_classes": gen_classes,
    }
    if out.name in ("", ".."):
        raise _UsageError("nothing to write to", [Problem("--out names no file")])
    asked = None if fuse is None else _names(fuse)
    made = _calibration(calibration, given, class_minimum, asked)
    tiles = _outputs(outputs, made)
    usable = made.only(_possible(made, tiles))
    if asked and (unheard := [name for name in asked if name not in usable.score_names]):
        raise OperatorError(
            "cannot fuse what is asked",
            [Problem(f"{name}: {_lack(name, made)}") for name in unheard],
        )
    result, lacks = score_arrays(made, tiles)
    replaced = out.exists()
    write_npz(out, result)
    _report(out, usable, result, lacks, as_json, replaced=replaced)


def score_arrays(
    calibration: Calibration, outputs: Outputs
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """The arrays to write, and score name -> what it lacks."""
    raw = raw_scores(outputs, calibration.references, calibration.options.scores)
    usable = calibration.only(raw)
    scored = usable.judge(outputs)
    faulty = np.array([fault is not None for fault in scored.faults], dtype=bool)
    result: dict[str, npt.NDArray[Any]] = {
        name: np.where(faulty, np.nan, values) for name, values in raw.items()
    }
    result |= {f"p_{name}": values for name, values in scored.p_values.items() if name != OOD}
    result[OOD] = scored.p_values[OOD]
    result["ood_statistic"] = scored.scores[OOD]
    result["valid"] = ~faulty
    result["reason"] = np.array([fault or "" for fault in scored.faults], dtype=np.str_)
    lacks = {
        name: "p-value: the calibration lacks it" if name in raw else _lack(name, calibration)
        for name in SCORE_NAMES
        if f"p_{name}" not in result
    }
    return result, lacks


def _possible(calibration: Calibration, outputs: Outputs) -> set[str]:
    """The scores that these outputs allow."""
    return set(SCORE_NAMES) - set(lacking(outputs, calibration.references))


def _names(fuse: str) -> tuple[str, ...]:
    """The scores asked for, each once.

    Raises:
        OperatorError: one that there is not, or none at all.
    """
    names = tuple(dict.fromkeys(name for part in fuse.split(",") if (name := part.strip())))
    hint = f"choose from {', '.join(SCORE_NAMES)}"
    problems = [
        Problem(f"--fuse {name}: there is no such score", hint)
        for name in names
        if name not in SCORE_NAMES
    ]
    if not names:
        problems.append(Problem("--fuse names no score", hint))
    if problems:
        raise _UsageError("cannot fuse what is asked", problems)
    return names


def _lack(name: str, calibration: Calibration) -> str:
    return calibration.lacking.get(name, "the outputs lack the arrays that it needs")


def _calibration(
    path: Path, given: Mapping[str, Any], class_minimum: int | None, fuse: tuple[str, ...] | None
) -> Calibration:
    arrays = read_npz(path)
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        if not changes and class_minimum is None and fuse is None:
            return read_arrays(arrays)
        _check_dimension(vim_dimension=given["vim_dimension"], features=arrays.get("features"))
        base = written_options(arrays)
        options = CalibrationOptions(
            replace(base.scores, **changes),
            class_minimum or base.class_minimum,
            fuse,
        )
        return read_arrays(arrays, options=options)
    except CalibrationError as error:
        raise OperatorError(
            f"{path} cannot be used as asked", [Problem(text) for text in error.problems]
        ) from error
    except ValueError as error:
        raise OperatorError(f"{path} cannot be used as asked", [Problem(str(error))]) from error


def _check_dimension(*, vim_dimension: int | None, features: npt.NDArray[Any] | None) -> None:
    if vim_dimension is None or features is None or features.ndim != 2:
        return
    if vim_dimension > (depth := features.shape[1]):
        raise CalibrationError([f"--vim-dimension {vim_dimension}: there are {depth} features"])


def _outputs(path: Path, calibration: Calibration) -> Outputs:
    arrays = read_npz(path)
    known = calibration.familiar.outputs
    classes = known.logits.shape[1]
    logits, features, members = map(arrays.get, ("logits", "features", "member_logits"))
    problems = []
    if logits is None or logits.ndim != 2 or logits.shape[1] != classes:
        found = "missing" if logits is None else f"{logits.shape}"
        problems.append(Problem(f"logits are {found}, not (N, {classes})"))
    else:
        count = len(logits)
        if features is not None and known.features is not None:
            depth = known.features.shape[1]
            if features.shape != (count, depth):
                problems.append(Problem(f"features are {features.shape}, not ({count}, {depth})"))
        if members is not None and (
            members.ndim != 3 or members.shape[1:] != logits.shape or not len(members)
        ):
            expected = f"(M, {count}, {classes})"
            problems.append(Problem(f"member_logits are {members.shape}, not {expected}"))
    problems += [
        Problem(f"{name} are {values.dtype}, not floats")
        for name, values in (("logits", logits), ("features", features), ("member_logits", members))
        if values is not None and values.dtype.kind not in "fiu"
    ]
    if problems or logits is None:
        raise OperatorError(f"{path} does not fit the calibration", problems)
    return Outputs(logits, features if known.features is not None else None, members)


def _report(
    out: Path,
    calibration: Calibration,
    result: Arrays,
    lacks: Mapping[str, str],
    as_json: bool,
    *,
    replaced: bool,
) -> None:
    names = [name for name in SCORE_NAMES if name in result]
    valid = result["valid"]
    if as_json:
        document = {
            "out": str(out),
            "replaced": replaced,
            "tiles": len(valid),
            "invalid": int((~valid).sum()),
            "calibration_tiles": calibration.size,
            "scores": names,
            "fused": list(calibration.fusion.members),
            "lacking": dict(lacks),
            "warnings": list(calibration.warnings),
        }
        typer.echo(msgspec.json.encode(document).decode())
        return
    table = Table("score", "median", "p <= 0.05", box=None, header_style="bold")
    for name in (*names, OOD, "ood_statistic"):
        p = result[OOD] if name == OOD else result.get(f"p_{name}")
        values = result[name]
        share = "" if p is None or not valid.any() else f"{(p[valid] <= 0.05).mean():.1%}"
        median = f"{np.median(values[valid]):.4g}" if valid.any() else ""
        table.add_row(name, median, share)
    console = Console()
    console.print(table)
    console.print(
        f"ood is the fused p-value of {', '.join(calibration.fusion.members)}; "
        "ood_statistic is what it is the rank of",
        highlight=False,
        soft_wrap=True,
    )
    place = f"{out} (replaced)" if replaced else f"{out}"
    console.print(
        f"{len(valid)} tiles, {int((~valid).sum())} invalid -> {place}",
        highlight=False,
        soft_wrap=True,
    )
    for name, lack in lacks.items():
        console.print(f"left out {name}: {lack}", highlight=False, soft_wrap=True)
    for warning in calibration.warnings:
        console.print(f"note: {warning}", highlight=False, soft_wrap=True)
