"""What photos say of themselves, and where that puts their pixels."""

from __future__ import annotations

import io
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational
from pyproj import Geod

from edge_agent.imagery.exif import DRONE_DJI, PhotoFacts, number, read_facts
from edge_agent.imagery.flat_ground import photo_georeference
from edge_agent.imagery.frames import FrameFile, TilePlan, open_frame

GPS, BASE = ExifTags.GPS, ExifTags.Base
HERE = {
    GPS.GPSLatitudeRef: "S",
    GPS.GPSLatitude: (IFDRational(33), IFDRational(30), IFDRational(36)),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (IFDRational(151), IFDRational(15), IFDRational(0)),
}
EARTH = Geod(ellps="WGS84")


def facts_of(gps=None, detail=None, root=None, xmp=None, fmt="JPEG") -> PhotoFacts:
    """A photo with these tags, written and read back."""
    exif = Image.Exif()
    exif.update({BASE.Make: "maker"} | (root or {}))
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps or {})
    exif.get_ifd(ExifTags.IFD.Exif).update(detail or {})
    buffer = io.BytesIO()
    if fmt == "TIFF":  # Pillow writes there only the directories of an EXIF block that it has read
        Image.new("RGB", (20, 20)).save(buffer, "JPEG", exif=exif)
        exif = Image.open(buffer).getexif()
        buffer = io.BytesIO()
    more = {} if xmp is None else {"xmp": xmp}
    if xmp is not None and fmt == "PNG":
        more = {"pnginfo": PngImagePlugin.PngInfo()}
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp is not None and fmt == "TIFF":
        more = {"tiffinfo": {BASE.XMLPacket: xmp}}
    Image.new("RGB", (20, 20)).save(buffer, fmt, exif=exif, **more)
    with Image.open(buffer) as image:
        return read_facts(image)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_position_by_degrees_minutes_seconds(fmt) -> None:
    """33 deg 30' 36" S is -33.51, 151 deg 15' E is 151.25, in every format."""
    facts = facts_of(HERE, fmt=fmt)
    assert facts.latitude == pytest.approx(-33.51)
    assert facts.longitude == pytest.approx(151.25)


def zero_by_zero():
    """The rational that cameras write without a fix."""
    return IFDRational(0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {GPS.GPSLatitudeRef: None},
        {GPS.GPSLongitudeRef: "X"},
        {GPS.GPSLatitude: (zero_by_zero(), zero_by_zero(), zero_by_zero())},
        {GPS.GPSLatitude: (IFDRational(91), IFDRational(0), IFDRational(0))},
        {GPS.GPSLongitude: None},
        {GPS.GPSStatus: "V"},
        {
            GPS.GPSLatitude: (IFDRational(0),) * 3,
            GPS.GPSLongitude: (IFDRational(0),) * 3,
        },
    ],
)
def test_half_a_position_is_none(change) -> None:
    """A missing hemisphere, 0/0, 91 degrees, a void fix or 0, 0 is not a place."""
    tags = {key: value for key, value in (HERE | change).items() if value is not None}
    facts = facts_of(tags)
    assert (facts.longitude, facts.latitude) == (None, None)


def test_receiver_time_beats_camera_time() -> None:
    """GPS time is UTC and right; the camera's clock is what somebody set."""
    stamp = {
        GPS.GPSDateStamp: "2024:02:29",
        GPS.GPSTimeStamp: (IFDRational(23), IFDRational(59), IFDRational(595, 10)),
    }
    facts = facts_of(HERE | stamp, {BASE.DateTimeOriginal: "2019:01:01 00:00:00"})
    assert (facts.captured_at, facts.clock) == ("2024-02-29T23:59:59.500000+00:00", "gps")


@pytest.mark.parametrize(
    ("detail", "captured_at"),
    [
        ({BASE.DateTimeOriginal: "2016:06:23 16:31:59"}, "2016-06-23T16:31:59"),
        (
            {BASE.DateTimeOriginal: "2016:06:23 16:31:59", BASE.OffsetTimeOriginal: "-05:00"},
            "2016-06-23T16:31:59-05:00",
        ),
        (
            {
                BASE.DateTimeOriginal: "2016:06:23 16:31:59\0",
                BASE.SubsecTimeOriginal: "25",
                BASE.OffsetTimeOriginal: "soon",
            },
            "2016-06-23T16:31:59.250000",
        ),
        ({BASE.DateTimeOriginal: "0000:00:00 00:00:00"}, None),
        ({BASE.DateTimeOriginal: "    :  :     :  :  "}, None),
    ],
)
def test_camera_time(detail, captured_at) -> None:
    """With its offset where stated; a clock never set is no time."""
    facts = facts_of(detail=detail)
    assert facts.captured_at == captured_at
    assert facts.clock == ("exif" if captured_at else "unknown")


ATTRIBUTES = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:any="{DRONE_DJI}" any:RelativeAltitude="+39.80"
 any:GimbalPitchDegree="-89.90" any:GimbalYawDegree="+45.00"/></rdf:RDF></x:xmpmeta>"""
ELEMENTS = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:d="{DRONE_DJI}"><d:RelativeAltitude>+39.80</d:RelativeAltitude>
<d:GimbalPitchDegree>-89.90</d:GimbalPitchDegree><d:GimbalYawDegree>+45.00</d:GimbalYawDegree>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("packet", [ATTRIBUTES, ELEMENTS], ids=["attributes", "elements"])
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_drone_fields_by_namespace(packet, fmt) -> None:
    """Attribute or element form, whatever the prefix."""
    facts = facts_of(xmp=packet.encode(), fmt=fmt)
    assert facts.relative_altitude_m == 39.8
    assert (facts.pitch_degrees, facts.yaw_degrees) == (-89.9, 45.0)


@pytest.mark.parametrize(
    "packet",
    [
        ATTRIBUTES.replace(DRONE_DJI, "http://example.org/other/"),
        ATTRIBUTES[:-20],
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
        + ATTRIBUTES.replace("39.80", "&b;"),
        "",
        "\0\0",
    ],
    ids=["other namespace", "cut off", "entities", "empty", "NULs"],
)
def test_other_xmp_is_ignored(packet) -> None:
    """Foreign, broken or hostile packets say nothing, and stop nothing."""
    assert facts_of(xmp=packet.encode()).relative_altitude_m is None


@given(
    st.one_of(
        st.none(), st.text(), st.binary(), st.floats(), st.integers(), st.tuples(st.integers()),
        st.fractions(), st.builds(IFDRational, st.integers(0, 9), st.integers(0, 9)),
    )
)  # fmt: skip
def test_number_is_finite_or_none(value) -> None:
    """Whatever a tag holds."""
    result = number(value)
    assert result is None or math.isfinite(result)
    if isinstance(value, Fraction):
        assert result == float(value)


NADIR = PhotoFacts(
    longitude=10.0,
    latitude=50.0,
    focal_35mm=20.0,
    relative_altitude_m=40.0,
    pitch_degrees=-90.0,
    yaw_degrees=0.0,
)


def replaced(**changes) -> PhotoFacts:
    """NADIR but for some fields."""
    fields = {name: getattr(NADIR, name) for name in NADIR.__dataclass_fields__}
    return PhotoFacts(**(fields | changes))


def test_scale_straight_below() -> None:
    """40 m, 20 mm, 2000 px: 40 * 36 / (20 * 2000) = 0.036 m."""
    place, notes = photo_georeference(NADIR, (1125, 2000), 5.0)
    assert place.gsd_m == pytest.approx(0.036)
    assert notes == ()


@pytest.mark.parametrize(
    ("shape", "gsd_m"),
    [
        ((2000, 3000), 40 * 36 / (20 * 3000)),  # like film: by width and by diagonal
        ((3000, 4000), 40 * math.sqrt(36**2 + 24**2) / (20 * 5000)),  # 3, 4, 5
        ((4000, 3000), 40 * math.sqrt(36**2 + 24**2) / (20 * 5000)),  # held upright
        ((2250, 4000), 40 * 36 / (20 * 4000)),  # cut from a higher picture
    ],
)
def test_equivalent_focal_lengths_compare_diagonals(shape, gsd_m) -> None:
    """By width a 4:3 picture would come out 4 % too large."""
    place, _ = photo_georeference(NADIR, shape, 5.0)
    assert place.gsd_m == pytest.approx(gsd_m)


def test_a_four_thirds_camera_has_the_scale_of_its_sensor() -> None:
    """17.3 x 13 mm, 5280 x 3956 px, 12.29 mm called 24: off by its rounding, not by its shape."""
    place, _ = photo_georeference(
        replaced(focal_35mm=24.0, relative_altitude_m=100.0), (3956, 5280), 5.0
    )
    assert place.gsd_m == pytest.approx(100 * 17.3 / (12.29 * 5280), rel=0.03)


@pytest.mark.parametrize(
    ("yaw", "azimuth"), [(0.0, 90.0), (90.0, 180.0), (45.0, 135.0), (-90.0, 0.0)]
)
def test_right_edge_lies_clockwise_of_the_heading(yaw, azimuth) -> None:
    """Flying north the right edge is east, flying east it is south."""
    place, _ = photo_georeference(replaced(yaw_degrees=yaw), (1000, 2000), 5.0)
    edge = place.locate(2000, 500)
    there, _, distance = EARTH.inv(10.0, 50.0, edge.longitude, edge.latitude)
    assert there % 360 == pytest.approx(azimuth % 360, abs=0.01)
    assert distance == pytest.approx(1000 * 0.036)
    assert edge.sigma_m == pytest.approx(math.hypot(5.0, 0.05 * 36.0))


def test_upper_edge_points_where_the_camera_heads() -> None:
    """Row 0 is ahead."""
    place, _ = photo_georeference(replaced(yaw_degrees=30.0), (1000, 2000), 5.0)
    edge = place.locate(1000, 0)
    assert EARTH.inv(10.0, 50.0, edge.longitude, edge.latitude)[0] == pytest.approx(30.0, abs=0.01)


def test_heading_may_be_distrusted() -> None:
    """The setting makes a stated heading as good as none."""
    trusted, _ = photo_georeference(NADIR, (1125, 2000), 5.0)
    distrusted, notes = photo_georeference(NADIR, (1125, 2000), 5.0, trust_heading=False)
    assert trusted.locate(0, 0).longitude != 10.0
    assert distrusted.locate(0, 0).longitude == 10.0
    assert any("heading unknown" in note for note in notes)


def test_without_heading_a_tile_may_lie_anywhere_in_the_frame() -> None:
    """The position is the frame's, the uncertainty grows by half its diagonal."""
    place, notes = photo_georeference(replaced(yaw_degrees=None), (1125, 2000), 5.0)
    corner = place.locate(0, 0)
    assert (corner.longitude, corner.latitude) == (10.0, 50.0)
    assert corner.sigma_m == pytest.approx(5.0 + math.hypot(2000, 1125) / 2 * 0.036)
    assert any("heading unknown" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"pitch_degrees": -45.0}, "not looking down"),
        ({"pitch_degrees": None}, "pitch unknown"),
        ({"relative_altitude_m": None}, "height above ground unknown"),
        ({"relative_altitude_m": -2.0}, "height above ground unknown"),
        ({"focal_35mm": None}, "focal length unknown"),
    ],
)
def test_no_scale_without_all_that_it_takes(change, note) -> None:
    """The frame has a place, its tiles have one of unknown uncertainty, and a note says why."""
    place, notes = photo_georeference(replaced(**change), (1125, 2000), 5.0)
    assert place.gsd_m is None
    assert place.locate(1000, 562.5).sigma_m == 5.0
    assert place.locate(0, 0).sigma_m is None
    assert any(note in text for text in notes)


def test_tilt_costs_certainty() -> None:
    """At 40 m and 5 degrees off, the centre lies 3.5 m from below the camera."""
    place, _ = photo_georeference(replaced(pitch_degrees=-85.0), (1000, 2000), 5.0)
    expected = math.hypot(5.0, 40 * math.tan(math.radians(5)))
    assert place.locate(1000, 500).sigma_m == pytest.approx(expected)


def test_photo_that_knows_its_own_error() -> None:
    """GPSHPositioningError replaces the setting."""
    facts = facts_of(HERE | {GPS.GPSHPositioningError: IFDRational(12, 10)})
    place, _ = photo_georeference(facts, (10, 10), 5.0)
    assert place.locate(5, 5).sigma_m == pytest.approx(1.2)


def upright(height: int = 48, width: int = 64) -> Image.Image:
    """A picture with four different corners."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (250, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 250, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 250)
    return Image.fromarray(pixels)


UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera held in each of the eight ways stores an upright scene."""


@pytest.mark.parametrize("orientation", UNDO)
def test_photos_are_shown_upright(tmp_path, read, orientation) -> None:
    """All eight EXIF orientations give the same tiles."""
    image, undo = upright(), UNDO[orientation]
    stored = image if undo is None else image.transpose(undo)
    exif = Image.Exif()
    exif[BASE.Orientation] = orientation
    path = tmp_path / "photo.png"
    stored.save(path, exif=exif)
    frame, (tile,) = read(path, (48, 64))
    assert (frame.height, frame.width) == (48, 64)
    assert np.array_equal(tile.pixels, np.asarray(image))


@pytest.mark.parametrize("orientation", UNDO)
def test_tiles_of_a_turned_photo_are_those_of_the_upright_one(
    tmp_path, read, coded, orientation
) -> None:
    """Cut from the stored picture tile by tile, as Pillow would turn the whole."""
    stored = Image.fromarray(np.ascontiguousarray(coded(83, 117).transpose(1, 2, 0)))
    exif = Image.Exif()
    exif[BASE.Orientation] = orientation
    path = tmp_path / "photo.png"
    stored.save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    frame, tiles = read(path, (32, 24), resample="native")
    assert (frame.height, frame.width) == expected.shape[:2]
    for tile in tiles:
        there = expected[tile.row : tile.row + 32, tile.column : tile.column + 24]
        assert np.array_equal(tile.pixels, there)


@pytest.mark.parametrize(
    ("mode", "fmt"),
    [
        ("RGB", "PNG"), ("L", "PNG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"),
        ("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "WEBP"), ("RGBA", "WEBP"),
    ],
)  # fmt: skip
def test_every_mode_becomes_colours(tmp_path, read, mode, fmt) -> None:
    """Tiles are what Pillow shows of the file in RGB."""
    path = tmp_path / f"photo.{fmt.lower()}"
    upright().convert(mode).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    _, (tile,) = read(path, (48, 64))
    assert np.array_equal(tile.pixels, expected)
    assert tile.nodata_share == 0.0


@pytest.mark.parametrize("averaged", [False, True])
def test_transparent_pixels_are_no_data(tmp_path, read, averaged) -> None:
    """A quarter transparent is a quarter without data, black."""
    pixels = np.full((64, 64, 4), 200, np.uint8)
    pixels[:32, :32, 3] = 0
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    _, (tile,) = read(path, 64)
    assert tile.nodata_share == 0.25
    assert not tile.pixels[:32, :32].any()
    assert (tile.pixels[32:] == 200).all()


def test_photo_without_a_time_has_that_of_its_file(tmp_path, read) -> None:
    """And says that it is only that."""
    path = tmp_path / "photo.png"
    upright().save(path)
    frame, _ = read(path)
    assert frame.clock == "file"
    assert frame.captured_at.endswith("+00:00")
    assert frame.position is None


def test_a_file_from_the_year_30000_has_no_time(tmp_path) -> None:
    """Broken cards date files beyond any calendar; the frame is read all the same."""
    path = tmp_path / "photo.png"
    upright().save(path)
    file = FrameFile(path, "photo.png", path.stat().st_size, 884_541_351_600 * 10**9)
    with open_frame(file, TilePlan((32, 32), 0.6)) as opened:
        assert (opened.frame.captured_at, opened.frame.clock) == (None, "unknown")
        assert len(list(opened.tiles())) == 4
