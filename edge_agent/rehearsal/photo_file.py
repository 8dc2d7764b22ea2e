"""A frame as a drone stores it: JPEG with EXIF and XMP.

Tags after Exif 2.32 (CIPA DC-008-2019); the XMP fields are those of DJI's `drone-dji` namespace,
which many drones and most mapping programs understand.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from edge_agent.rehearsal.camera import FOCAL_35MM, FOCAL_MM, HEIGHT_M, Shot

_START: Final = datetime(2025, 6, 14, 10, 12, 0, tzinfo=timezone(timedelta(hours=2)))
_TERRAIN_M: Final = 268.0
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_SECOND_PARTS = 1_000_000

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"
   drone-dji:AbsoluteAltitude="{absolute:+.2f}"
   drone-dji:RelativeAltitude="{relative:+.2f}"
   drone-dji:GimbalRollDegree="+0.00"
   drone-dji:GimbalYawDegree="{yaw:+.2f}"
   drone-dji:GimbalPitchDegree="-90.00"
   drone-dji:FlightRollDegree="+0.00"
   drone-dji:FlightYawDegree="{yaw:+.2f}"
   drone-dji:FlightPitchDegree="+0.00"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def captured_at(shot: Shot) -> datetime:
    """When the shutter opened, to the millisecond."""
    return _START + timedelta(milliseconds=round(shot.seconds * 1000))


def write_photo(
    path: Path, pixels: npt.NDArray[np.uint8], shot: Shot, longitude: float, latitude: float
) -> None:
    """Write one frame; the position is that of its middle, in degrees."""
    yaw = 180.0 if shot.turned else 0.0
    xmp = _XMP.format(absolute=_TERRAIN_M + HEIGHT_M, relative=HEIGHT_M, yaw=yaw)
    exif = _exif(shot, longitude, latitude, pixels.shape[:2])
    Image.fromarray(pixels).save(
        path, "JPEG", quality=90, exif=exif, xmp=xmp.encode("utf-8"), subsampling="4:2:0"
    )


def _exif(shot: Shot, longitude: float, latitude: float, shape: tuple[int, ...]) -> Image.Exif:
    when = captured_at(shot)
    stamp, offset = when.strftime("%Y:%m:%d %H:%M:%S"), "+02:00"
    utc = when.astimezone(UTC)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "tilesift", "Rehearsal"  # Make, Model
    exif[0x0112] = 1  # Orientation
    exif[0x0132] = stamp  # DateTime
    exif[_EXIF_IFD] = {
        0x829A: IFDRational(1, round(1000 / shot.gain)),  # ExposureTime
        0x8827: 100,  # ISOSpeedRatings
        0x9003: stamp,  # DateTimeOriginal
        0x9004: stamp,  # DateTimeDigitized
        0x9011: offset,  # OffsetTimeOriginal
        0x9012: offset,  # OffsetTimeDigitized
        0x9291: f"{when.microsecond // 1000:03d}",  # SubSecTimeOriginal
        0x9292: f"{when.microsecond // 1000:03d}",  # SubSecTimeDigitized
        0x920A: IFDRational(round(FOCAL_MM * 10), 10),  # FocalLength
        0xA405: FOCAL_35MM,  # FocalLengthIn35mmFilm
        0xA002: shape[1],  # PixelXDimension
        0xA003: shape[0],  # PixelYDimension
        0xA404: IFDRational(1, 1),  # DigitalZoomRatio
    }
    exif[_GPS_IFD] = {
        0x0000: b"\x02\x03\x00\x00",  # GPSVersionID
        0x0001: "N" if latitude >= 0 else "S",
        0x0002: _degrees(latitude),
        0x0003: "E" if longitude >= 0 else "W",
        0x0004: _degrees(longitude),
        0x0005: b"\x00",  # above sea level
        0x0006: IFDRational(round((_TERRAIN_M + HEIGHT_M) * 100), 100),
        0x0007: (
            utc.hour,
            utc.minute,
            IFDRational(utc.second * 1000 + utc.microsecond // 1000, 1000),
        ),
        0x001D: utc.strftime("%Y:%m:%d"),
        0x0012: "WGS-84",
    }
    return exif


def _degrees(value: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Degrees, minutes and seconds; a part of a second is 0.03 mm of latitude."""
    parts = round(abs(value) * 3600 * _SECOND_PARTS)
    minutes, seconds = divmod(parts, 60 * _SECOND_PARTS)
    degrees, minutes = divmod(minutes, 60)
    return IFDRational(degrees, 1), IFDRational(minutes, 1), IFDRational(seconds, _SECOND_PARTS)
