"""MODEL_CARD.md from the measured figures; nothing in it is typed by hand twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.bundle_writer import BundleSpec

Figures = Mapping[str, Any]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(figures: Figures) -> str:
    low, high = figures["interval_95"]
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _list(items: Sequence[str]) -> list[str]:
    return [f"- {item}" for item in items]


def _accuracy(test: Figures) -> list[str]:
    lines = [
        (
            f"**{_percent(test['accuracy'])}** of {test['tiles']} test tiles "
            f"(95 % interval {_interval(test)}, Wilson). The test part was seen neither in "
            "training nor in any choice."
        ),
        "",
        "| class | test tiles | right | accuracy | 95 % interval |",
        "|---|---:|---:|---:|---|",
    ]
    for name, figures in test["by_class"].items():
        if not figures["tiles"]:
            lines.append(f"| {name} | 0 | | | |")
            continue
        cells = (figures["tiles"], figures["right"], _percent(figures["accuracy"]))
        row = " | ".join(str(cell) for cell in cells)
        lines.append(f"| {name} | {row} | {_interval(figures)} |")
    lines += ["", "Confused on the test part:"]
    lines += _list(
        [f"{c['truth']} taken for {c['predicted']}: {c['tiles']}" for c in test["confusions"][:8]]
    ) or ["- nothing"]
    return lines


def _novelty(unseen: Figures) -> list[str]:
    kinds = unseen["auroc_by_class"]
    meaning = (
        f"{unseen['tiles']} tiles of {len(unseen['classes'])} classes that the model never saw, "
        "against the test tiles. AUROC: the chance that an unseen tile scores as less familiar "
        "than a familiar one (0.5 = no better than a coin), by the agent's own scores as "
        "`calibration.npz` fits them; ood is the fused one. For information: nothing was tuned on "
        "these."
    )
    lines = [
        "",
        "## Unfamiliar ground",
        "",
        meaning,
        "",
        f"| score | all unseen | {' | '.join(kinds)} |",
        f"|---|{'---:|' * (1 + len(kinds))}",
    ]
    for name, together in unseen["auroc"].items():
        values = [together, *(figures[name] for figures in kinds.values())]
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")
    return lines


def _make(metrics: Figures, split_note: str) -> list[str]:
    model, training, split = metrics["model"], metrics["training"], metrics["split"]
    config = training["config"]
    shape, times = config["shape"], model["milliseconds_per_tile"]
    network = (
        f"Network: residual, stem {shape['stem']}, widths {list(shape['widths'])}, blocks "
        f"{list(shape['depths'])}; embedding {shape['embedding']} (mean over the image), then one "
        "linear layer: logits = embedding @ head_weight.T + head_bias."
    )
    size = (
        f"{model['parameters']:,} parameters, model.onnx {model['bytes'] / 1e6:.2f} MB, opset "
        f"{model['opset']}."
    )
    speed = (
        f"{times['batch_1']:.1f} ms per tile one by one, {times['batch_16']:.1f} ms in batches of "
        "16: fastest of many runs, one thread, on the machine that trained it."
    )
    counts = ", ".join(f"{tiles} {part}" for part, tiles in split.items())
    parts = f"Parts: {counts}; split seed {config['split_seed']}, {split_note} (`split.csv`)."
    recipe = (
        f"{config['epochs']} epochs, batch {config['batch']}, AdamW, peak rate "
        f"{config['learning_rate']}, cosine; CutMix, mixup, label smoothing, turns, mirrors, "
        f"crops, colour; averaged weights; seed {config['seed']}; torch {training['torch']}; "
        f"{training['seconds'] / 60:.0f} minutes, threads: {config['threads']}."
    )
    held = (
        "`calibration.npz` holds what the model says of the calibration part. Nothing was trained "
        "on that part, but its accuracy was watched when the recipe was chosen: "
        f"{_percent(metrics['calibration']['accuracy'])}."
    )
    return ["", "## How it was made", "", *_list([network, size, speed, parts, recipe, held])]


def model_card(spec: BundleSpec, labels: Sequence[str], metrics: Figures) -> str:
    """The card's text. metrics: as `train_bundle` makes them."""
    lines = [
        f"# {spec.name} {spec.version}",
        "",
        spec.purpose,
        "",
        (
            f"Input: {metrics['model']['side']} px RGB tiles at {spec.gsd_m:g} m per pixel. "
            f"{len(labels)} classes: {', '.join(labels)}."
        ),
        "",
        "## Not for",
        "",
        *_list(spec.not_for),
        "",
        "## Accuracy",
        "",
        *_accuracy(metrics["test"]),
    ]
    if "unseen" in metrics:
        lines += _novelty(metrics["unseen"])
    lines += _make(metrics, spec.split_note)
    lines += ["", "Again, from the repository root:", "", "```sh", spec.command, "```"]
    lines += ["", "## Data and licence", "", *_list(spec.data_notes)]
    lines += ["", f"Licence: {spec.licence}"]
    return "\n".join(lines) + "\n"
