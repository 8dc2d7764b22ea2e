"""What a photo says of itself: EXIF (JEITA CP-3451) and DJI's XMP.

Cameras write zero denominators, fill texts with NULs and leave fields out. A field that makes
no sense counts as not there; nothing here ever fails a frame.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import ExifTags, Image

from edge_agent.domain import Clock

DRONE_DJI: Final = "http://www.dji.com/drone-dji/1.0/"
_MAX_XMP_BYTES = 1 << 20
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, TypeError, KeyError,
           IndexError, AttributeError, OverflowError)  # fmt: skip
"""What Pillow's EXIF reader has been seen to raise on damaged tags."""


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """None where the photo does not say, or does not make sense."""

    longitude: float | None = None
    latitude: float | None = None
    gps_sigma_m: float | None = None
    captured_at: str | None = None
    clock: Clock = "unknown"
    focal_35mm: float | None = None
    """Focal length in mm at which 36 x 24 mm film has the same view from corner to corner."""
    orientation: int = 1
    relative_altitude_m: float | None = None
    """Above the take-off point."""
    pitch_degrees: float | None = None
    """-90 looks straight down."""
    yaw_degrees: float | None = None
    """Clockwise from north, where the upper edge points."""
    notes: tuple[str, ...] = ()


def read_facts(image: Image.Image) -> PhotoFacts:
    """Read the tags of an open image; pixels are not decoded."""
    notes = []
    root: Mapping[int, Any] = {}
    detail: Mapping[int, Any] = {}
    gps: Mapping[int, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged tags: told by the note
        try:
            exif = image.getexif()
            root = dict(exif)
            detail = exif.get_ifd(ExifTags.IFD.Exif)
            gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        except _BROKEN:
            notes.append("EXIF is damaged: read in part")
    drone = _drone_fields(image.info.get("xmp") or root.get(ExifTags.Base.XMLPacket))
    longitude, latitude = _place(gps)
    gps_time, camera_time = _gps_time(gps), _camera_time(detail)
    clock: Clock = "gps" if gps_time else "exif" if camera_time else "unknown"
    turned = root.get(ExifTags.Base.Orientation)
    return PhotoFacts(
        longitude=longitude,
        latitude=latitude,
        gps_sigma_m=_positive(gps.get(ExifTags.GPS.GPSHPositioningError)),
        captured_at=gps_time or camera_time,
        clock=clock,
        focal_35mm=_positive(detail.get(ExifTags.Base.FocalLengthIn35mmFilm)),
        orientation=turned if isinstance(turned, int) and 1 <= turned <= 8 else 1,
        relative_altitude_m=number(drone.get("RelativeAltitude")),
        pitch_degrees=number(drone.get("GimbalPitchDegree")),
        yaw_degrees=number(drone.get("GimbalYawDegree")),
        notes=tuple(notes),
    )


def number(value: object) -> float | None:
    """A finite float, None for anything else (0/0, text, lists)."""
    if isinstance(value, bytes | tuple | list | None):
        return None
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def _positive(value: object) -> float | None:
    result = number(value)
    return result if result is not None and result > 0.0 else None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip("\0 ") if isinstance(value, str) else ""


def _place(gps: Mapping[int, Any]) -> tuple[float, float] | tuple[None, None]:
    """Longitude and latitude. Without its hemisphere a number is no place; 0, 0 is a receiver
    without a fix, and so is status V (void)."""
    tags = ExifTags.GPS
    latitude = _degrees(gps.get(tags.GPSLatitude), gps.get(tags.GPSLatitudeRef), "NS", 90.0)
    longitude = _degrees(gps.get(tags.GPSLongitude), gps.get(tags.GPSLongitudeRef), "EW", 180.0)
    if latitude is None or longitude is None or (latitude == 0.0 and longitude == 0.0):
        return None, None
    if _text(gps.get(tags.GPSStatus)).upper() == "V":
        return None, None
    return longitude, latitude


def _degrees(value: object, reference: object, signs: str, most: float) -> float | None:
    side = _text(reference).upper()[:1]
    parts = [number(part) for part in value] if isinstance(value, tuple | list) else []
    if side not in tuple(signs) or len(parts) != 3:
        return None
    degrees = 0.0
    for part, divisor in zip(parts, (1.0, 60.0, 3600.0), strict=True):
        if part is None or part < 0.0:
            return None
        degrees += part / divisor
    if degrees > most:
        return None
    return degrees if side == signs[0] else -degrees


def _gps_time(gps: Mapping[int, Any]) -> str | None:
    """The receiver's time, UTC."""
    stamp = gps.get(ExifTags.GPS.GPSTimeStamp)
    parts = [number(part) for part in stamp] if isinstance(stamp, tuple | list) else []
    if len(parts) != 3:
        return None
    hours, minutes, seconds = parts
    if hours is None or minutes is None or seconds is None:
        return None
    try:
        day = datetime.strptime(_text(gps.get(ExifTags.GPS.GPSDateStamp)) + "Z", "%Y:%m:%d%z")
        moment = day + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except (ValueError, OverflowError):
        return None
    if day.year < 1990:  # a receiver that has not heard the date yet
        return None
    return moment.isoformat()


def _camera_time(detail: Mapping[int, Any]) -> str | None:
    """The camera's clock, with its offset where stated."""
    written = _text(detail.get(ExifTags.Base.DateTimeOriginal))
    try:
        moment = datetime.strptime(written, "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - as the camera says
    except ValueError:
        return None
    fraction = _text(detail.get(ExifTags.Base.SubsecTimeOriginal))
    if fraction.isascii() and fraction.isdigit():
        moment = moment.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    offset = _text(detail.get(ExifTags.Base.OffsetTimeOriginal))
    try:
        return datetime.fromisoformat(moment.isoformat() + offset).isoformat()
    except ValueError:
        return moment.isoformat()


def _drone_fields(packet: object) -> dict[str, str]:
    """DJI's fields by name, written as attributes or as elements; told apart by namespace."""
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes) or len(packet) > _MAX_XMP_BYTES:
        return {}
    try:
        root = fromstring(packet.strip(b"\0 \r\n\t"))
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return {}
    prefix = f"{{{DRONE_DJI}}}"
    fields: dict[str, str] = {}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key.startswith(prefix):
                fields.setdefault(key.removeprefix(prefix), value)
        if isinstance(element.tag, str) and element.tag.startswith(prefix) and element.text:
            fields.setdefault(element.tag.removeprefix(prefix), element.text)
    return fields
