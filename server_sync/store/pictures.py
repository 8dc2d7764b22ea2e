"""Pictures that the fleet holds, found by their bytes or by their look."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, insert, select

from server_sync.domain import Alike, Picture, SampleKey
from server_sync.store.schema import pictures

MAX_BITS = 10
_BANDS = (pictures.c.band_0, pictures.c.band_1, pictures.c.band_2, pictures.c.band_3)
_MAX_VALUES_IN_QUERY = 500

# Built once: a statement costs more to build than SQLite takes to run it.
_TWIN: Final = select(pictures.c.device, pictures.c.sample_id).where(
    pictures.c.sha256 == bindparam("bytes")
)
_INSERT: Final = insert(pictures)
_NEAR: Final = tuple(
    select(pictures.c.phash, pictures.c.device, pictures.c.sample_id).where(
        band.in_(bindparam("values", expanding=True))
    )
    for band in _BANDS
)
_NEAR_IN_SURVEY: Final = tuple(
    query.where(pictures.c.survey == bindparam("within")) for query in _NEAR
)


def twin(connection: Connection, sha256: bytes) -> SampleKey | None:
    """Whose picture has these bytes."""
    row = connection.execute(_TWIN, {"bytes": sha256.hex()}).one_or_none()
    return None if row is None else SampleKey(row.device, row.sample_id)


def alike(
    connection: Connection, phash: bytes, bits: int, survey: str | None = None
) -> Alike | None:
    """The held picture that looks most like this pHash, within `bits` differing bits of 64.

    Exact, without comparing all: two hashes that differ in at most r bits differ in at most
    r // 4 bits in one of four 16-bit bands, so only rows near in one band are compared
    (Norouzi, Punjani, Fleet 2012, "Fast search in Hamming space with multi-index hashing").

    Args:
        bits: 0 to `MAX_BITS`; below 0 nothing is alike.
        survey: look only among this survey's pictures.
    """
    if bits < 0:
        return None
    wanted = int.from_bytes(phash, "big")
    best: tuple[int, SampleKey] | None = None
    for query, values in _candidates(wanted, min(bits, MAX_BITS), survey):
        for text, device, sample_id in connection.execute(query, values):
            distance = (int(text, 16) ^ wanted).bit_count()
            found = (distance, SampleKey(device, sample_id))
            if distance <= bits and (best is None or found < best):
                best = found
    return None if best is None else Alike(best[1], best[0])


def _candidates(
    wanted: int, bits: int, survey: str | None
) -> Iterator[tuple[Select[Any], dict[str, Any]]]:
    queries = _NEAR if survey is None else _NEAR_IN_SURVEY
    for query, value in zip(queries, bands(wanted), strict=True):
        near = _near(value, bits // 4)
        for start in range(0, len(near), _MAX_VALUES_IN_QUERY):
            values = {"values": near[start : start + _MAX_VALUES_IN_QUERY]}
            yield query, values if survey is None else values | {"within": survey}


def _near(value: int, bits: int) -> list[int]:
    """All 16-bit numbers within `bits` of `value`."""
    masks = [0]
    for count in range(1, bits + 1):
        masks += [sum(1 << bit for bit in chosen) for chosen in combinations(range(16), count)]
    return [value ^ mask for mask in masks]


def bands(phash: int) -> tuple[int, int, int, int]:
    """The 64 bits in four, the highest first."""
    return (phash >> 48) & 0xFFFF, (phash >> 32) & 0xFFFF, (phash >> 16) & 0xFFFF, phash & 0xFFFF


def add(
    connection: Connection,
    key: SampleKey,
    sha256: str,
    size: int,
    picture: Picture,
    survey: str,
    phash: str | None,
    now_ms: int,
) -> None:
    """Write down a picture whose blob is in place."""
    values: dict[str, object] = {
        "sha256": sha256,
        "media_type": picture.media_type,
        "size": size,
        "width": picture.width,
        "height": picture.height,
        "device": key.device,
        "sample_id": key.sample_id,
        "survey": survey,
        "stored_ms": now_ms,
    }
    if phash is not None:
        values["phash"] = phash
        values |= dict(zip((b.name for b in _BANDS), bands(int(phash, 16)), strict=True))
    connection.execute(_INSERT, values)
