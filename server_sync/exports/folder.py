"""A folder with pictures and a GeoJSON index (RFC 7946), for labelling and GIS tools."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from operations.errors import OperatorError, Problem
from server_sync.domain import Sample
from server_sync.store.blobs import Blobs

_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/webp": ".webp", "image/png": ".png"}
_OURS: Final = re.compile(r"images/[0-9a-f]{32}(-[A-Za-z0-9._-]+)?\.(jpg|webp|png)")
"""What an index may name for its file to be removed: nothing but what an export writes."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did."""

    samples: int
    written: int
    """Pictures that were not in the folder yet."""
    placed: int
    """Samples with a place on the map."""
    removed: int
    """Pictures that the folder's former index named and this one does not."""
    missing: tuple[str, ...]
    """Samples whose blob is not there, as device/sample; they are left out."""


def export_folder(samples: Iterable[Sample], blobs: Blobs, out: Path) -> Exported:
    """Write `out/images/<sample>.<type>` and `out/index.geojson`.

    The index is written last and in one piece, so it never names a picture that is not there.
    The same samples again change nothing. Pictures that an earlier export listed there and this
    one does not are removed after that; other files in the folder are left alone.

    Raises:
        OperatorError: the folder cannot be written.
    """
    try:
        return _export(samples, blobs, out)
    except OSError as error:
        raise OperatorError(
            f"cannot export to {out}", [Problem(str(error), "give a folder with room to write")]
        ) from error


def _export(samples: Iterable[Sample], blobs: Blobs, out: Path) -> Exported:
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    index = out / "index.geojson"
    former = _named(index)
    features: list[dict[str, Any]] = []
    taken: set[str] = set()
    missing: list[str] = []
    written = 0
    for sample in samples:
        if not sample.has_picture:
            continue
        name = _file_name(sample, taken)
        try:
            written += _write_picture(images / name, sample, blobs)
        except KeyError:
            missing.append(f"{sample.key.device}/{sample.key.sample_id}")
            former.discard(f"images/{name}")  # perhaps the last copy
            continue
        taken.add(name)
        features.append(_feature(sample, f"images/{name}"))
    content = {"type": "FeatureCollection", "features": features}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    _replace(index, text.encode() + b"\n")
    removed = _remove(out, former - {f"images/{name}" for name in taken})
    placed = sum(feature["geometry"] is not None for feature in features)
    return Exported(len(features), written, placed, removed, tuple(missing))


def _named(index: Path) -> set[str]:
    """The pictures of an index that an export wrote; none if there is no such index."""
    try:
        features = json.loads(index.read_bytes())["features"]
        files = [feature["properties"]["file"] for feature in features]
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    return {file for file in files if isinstance(file, str) and _OURS.fullmatch(file)}


def _remove(out: Path, files: set[str]) -> int:
    removed = 0
    for file in files:
        if (out / file).is_file():
            (out / file).unlink()
            removed += 1
    return removed


def _file_name(sample: Sample, taken: set[str]) -> str:
    """The sample's id; two devices with the same id are told apart by name."""
    suffix = _SUFFIXES[sample.payload_type]
    name = sample.key.sample_id + suffix
    return name if name not in taken else f"{sample.key.sample_id}-{sample.key.device}{suffix}"


def _write_picture(target: Path, sample: Sample, blobs: Blobs) -> bool:
    """True if the file was not there in this form."""
    there = target.is_file() and target.stat().st_size == sample.payload_size
    if there and hashlib.sha256(target.read_bytes()).hexdigest() == sample.payload_sha256:
        return False
    _replace(target, blobs.get(sample.payload_sha256))
    return True


def _replace(target: Path, data: bytes) -> None:
    temporary = target.with_name(target.name + ".part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


def _feature(sample: Sample, path: str) -> dict[str, Any]:
    geometry = None
    if sample.longitude is not None and sample.latitude is not None:
        geometry = {"type": "Point", "coordinates": [sample.longitude, sample.latitude]}
    key = sample.key
    return {
        "type": "Feature",
        "id": f"{key.device}/{key.sample_id}",
        "geometry": geometry,
        "properties": {"file": path, **properties(sample)},
    }


def properties(sample: Sample) -> dict[str, Any]:
    """A sample as plain values, for indexes and `--json`."""
    return {
        "device": sample.key.device,
        "sample": sample.key.sample_id,
        "outcome": str(sample.state),
        "detail": sample.detail,
        "class": sample.label,
        "probability": sample.probability,
        "probabilities": dict(sample.probabilities),
        "value": sample.value,
        "quality": sample.quality,
        "reasons": [
            {"code": reason.code, "numbers": dict(reason.numbers)} for reason in sample.reasons
        ],
        "scores": dict(sample.scores),
        "p_values": dict(sample.p_values),
        "findings": [
            {"rule": each.rule, "state": each.state, "evidence": dict(each.evidence)}
            for each in sample.findings
        ],
        "inclusion_probability": sample.inclusion_probability,
        "survey": sample.survey,
        "frame": sample.frame,
        "row": sample.row,
        "column": sample.column,
        "width": sample.width,
        "height": sample.height,
        "gsd_m": sample.gsd_m,
        "longitude": sample.longitude,
        "latitude": sample.latitude,
        "sigma_m": sample.sigma_m,
        "captured_at": sample.captured_at,
        "clock": sample.clock,
        "boot": sample.boot,
        "sequence": sample.sequence,
        "bundle": sample.bundle,
        "bundle_sha256": sample.bundle_sha256,
        "policy": sample.policy,
        "sha256": sample.payload_sha256,
        "bytes": sample.payload_size,
        "media_type": sample.payload_type,
    }
