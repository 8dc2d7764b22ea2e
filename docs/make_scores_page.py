"""Measure what docs/scores.md reports, and write it there: tables between marks, and pictures.

    python docs/make_scores_page.py --data ../shared/data [--tables] [--scenes] [--page FILE]

`--data` holds the imagery that is named in the page. `--tables` leaves out the pictures and the
times, which differ from machine to machine; `--scenes` leaves out the surveys, too, which take
half of the time. Text outside of the marks is never touched.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import scores_measures as measures
import scores_surveys as surveys
import scores_tables as tables

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "scores.md"
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""All matrices are small: threads would wait for one another."""


def main() -> None:
    """Measure, draw, write."""
    if any(os.environ.get(name) != value for name, value in ONE_CORE.items()):
        # The number of threads is read when numpy is loaded, so start again with one.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_CORE)  # noqa: S606 our own command line
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the imagery")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "models")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to rewrite")
    parser.add_argument("--tables", action="store_true", help="neither pictures nor times")
    parser.add_argument("--scenes", action="store_true", help="tables of the image sets alone")
    chosen = parser.parse_args()
    page = chosen.page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.scenes:
            blocks = of_scenes(chosen.models, measures.scenes(chosen.models, chosen.data))
        else:
            pictures = None if chosen.tables else chosen.page.parent / "scores"
            blocks = measured(chosen.models, chosen.data, Path(scratch), pictures)
    if not (chosen.tables or chosen.scenes):
        blocks["times"] = tables.times(measures.times(REPOSITORY))
    chosen.page.write_text(filled(page, blocks), encoding="utf-8")


def measured(models: Path, data: Path, scratch: Path, pictures: Path | None) -> dict[str, str]:
    """The blocks of the page by name; the pictures are drawn where there is a place for them."""
    say("the scenes model on its test part and on strange imagery")
    scenes = measures.scenes(models, data)
    say("a flight over strange ground")
    beach = next(one for one in scenes.far if "flight" in one.seen.name)
    frames = data / measures.BEACH
    foreign = surveys.survey("beach flight", scenes.judge, frames, beach.seen, scratch)
    say("a rehearsal over familiar ground")
    judge = measures.judge_of(models / "rehearsal")
    folder = scratch / "rehearsal"
    frames = surveys.rehearse(folder)
    looked = surveys.opinion(judge, judge.see("rehearsal", f"{frames}:frames", "ignore"))
    familiar = surveys.survey("rehearsal", judge, frames, looked.seen, scratch)
    strange, share = surveys.surprises(judge, looked, folder)
    if pictures is not None:
        import scores_figures as figures

        say(f"pictures in {pictures}")
        pictures.mkdir(exist_ok=True)
        figures.draw_scenes(scenes, pictures)
        figures.draw_evidence([familiar, foreign], pictures)
        figures.draw_surprises(looked.seen, strange, pictures)
    return {
        **of_scenes(models, scenes),
        "surveys": tables.surveys([familiar, foreign]),
        "surprising": tables.surprising(strange, share),
    }


def of_scenes(models: Path, scenes: measures.Scenes) -> dict[str, str]:
    """The blocks that rest on sets of images alone."""
    return {
        "scores": tables.scores(scenes),
        "findings": tables.findings(scenes),
        "sets": tables.sets(scenes),
        "training": tables.training(scenes),
        "sizes": tables.sizes(),
        "crowns": tables.crowns(models / "crown-health" / "metrics.json"),
    }


def filled(page: str, blocks: dict[str, str]) -> str:
    """The page with what stands between the marks replaced.

    Raises:
        ValueError: the page lacks a mark.
    """
    for name, text in blocks.items():
        mark = re.compile(rf"(<!-- measured:{name} -->\n).*?(<!-- /measured -->)", re.S)
        if len(mark.findall(page)) != 1:
            raise ValueError(f"the page needs <!-- measured:{name} --> once")
        page = mark.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)  # type: ignore[misc]
    return page


def say(what: str) -> None:
    """Tell on stderr what is under way."""
    sys.stderr.write(f"{what}\n")


if __name__ == "__main__":
    main()
