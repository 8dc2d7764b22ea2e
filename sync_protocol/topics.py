"""Topic names of the exchange: build and parse.

The major version of the protocol is the second level, so both majors can share one broker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

ROOT = "tilesift"
MAJOR = 1

_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Kind(StrEnum):
    """What a topic carries; the last level of its name."""

    OFFER = "offer"
    CHUNK = "chunk"
    STATUS = "status"
    PRESENCE = "presence"
    WANT = "want"
    RECEIPT = "receipt"


FROM_DEVICE = (Kind.OFFER, Kind.CHUNK, Kind.STATUS, Kind.PRESENCE)
TO_DEVICE = (Kind.WANT, Kind.RECEIPT)


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic name."""

    device: str
    kind: Kind

    def __str__(self) -> str:
        return f"{ROOT}/{MAJOR}/{self.device}/{self.kind}"


def is_device_id(text: str) -> bool:
    """Whether `text` may name a device: 1 to 64 of `A-Z a-z 0-9 . _ -`, alphanumeric first."""
    return _DEVICE_ID.fullmatch(text) is not None


def build(device: str, kind: Kind) -> str:
    """The topic on which `device` and base exchange messages of `kind`.

    Raises:
        ValueError: `device` is not a valid device id (it may come from a settings file).
    """
    if not is_device_id(device):
        raise ValueError(
            f"device id {device!r}: use 1 to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return str(Topic(device, kind))


def parse(name: str) -> Topic | None:
    """The parts of a topic name, or None when it is not one of ours or of another major version."""
    levels = name.split("/")
    if len(levels) != 4 or levels[:2] != [ROOT, str(MAJOR)] or not is_device_id(levels[2]):
        return None
    try:
        return Topic(levels[2], Kind(levels[3]))
    except ValueError:
        return None


def every_device(kind: Kind) -> str:
    """The subscription filter for `kind` from every device."""
    return f"{ROOT}/{MAJOR}/+/{kind}"
