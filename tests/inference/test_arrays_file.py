"""Files of arrays: what is written comes back, hostile ones cost nothing, no write is half."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_agent.inference.arrays_file import ArraysFileError, read_npz, write_npz

DTYPES = st.sampled_from(["<f4", "<f8", ">f8", "<i8", ">i4", "<u1", "?", "<f2", "<U5"])
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_/0123456789é", min_size=1, max_size=20)
CONTENTS = st.dictionaries(
    NAMES,
    arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, min_side=0, max_side=4)),
    max_size=4,
)
IN_ONE_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


@given(CONTENTS)
@IN_ONE_FOLDER
def test_what_is_written_comes_back(tmp_path: Path, content: dict[str, Any]) -> None:
    """Names, shapes and values, to our reader and to numpy's."""
    path = tmp_path / "a.npz"
    write_npz(path, content)
    with np.load(path) as archive:
        for found in (read_npz(path), archive):
            assert set(found) == set(content)
            for name, values in content.items():
                np.testing.assert_array_equal(found[name], values)
                assert found[name].dtype == values.dtype.newbyteorder("<")


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    """Whatever their order, layout in memory, byte order or the hour."""
    values = np.random.default_rng(0).normal(size=(5, 7))
    first, second = tmp_path / "1.npz", tmp_path / "2.npz"
    write_npz(first, {"a": values, "b": np.arange(3)})
    write_npz(second, {"b": np.arange(3), "a": np.asfortranarray(values).astype(">f8")})
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def header(shape: str, descr: str = "'<f8'") -> bytes:
    """An array file that claims a shape and holds nothing."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    padded = text.encode() + b" " * (118 - len(text) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


def packed(path: Path, *entries: tuple[str, bytes]) -> Path:
    """A zip with those entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """200 MB of zeros in 200 kB: above the limit they cost less than 2 MB of memory."""
    zeros = io.BytesIO()
    np.save(zeros, np.zeros(25_000_000))
    path = packed(tmp_path / "bomb.npz", ("a.npy", zeros.getvalue()))
    assert path.stat().st_size < 300_000
    zeros.close()
    tracemalloc.start()
    with pytest.raises(ArraysFileError, match="200000000 bytes of arrays"):
        read_npz(path, max_bytes=2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 2**20


@pytest.mark.parametrize(
    "content",
    [
        header("(1000000, 1000000, 1000000)"),
        header("(0, 1" + "0" * 30 + ")"),
        header("(-1000000000, 1000000)"),
        header("(-1,)"),
        header("()", "'<U1000000000'"),
        header("(1000000000000,)", "'<U0'"),
        header("(2,)"),
        header("(True, 'a')"),
        header("(2,)", "'|O'"),
        header("(2,)", "[('a', '<f8')]"),
        header("(2,)", "'<c16'"),
        header("(2,)", "'nonsense'"),
        header("(2,)", "','"),
        header("(2,)", "'" + "'" * 80),
        header("((((((((((2,),),),),),),),),),)"),
        header("(2,"),
        header("(2,)").replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03"),
        header("(0,)") + b"trailing",
        b"",
        b"\x93NUMPY",
        b"not an array",
    ],
)  # fmt: skip
def test_hostile_arrays_are_one_clear_error(tmp_path: Path, content: bytes) -> None:
    """Claims beyond memory or beyond 64 bits, negative sizes, objects, records, garbage."""
    path = packed(tmp_path / "x.npz", ("a.npy", content))
    with pytest.raises(ArraysFileError, match=r"cannot read .*x\.npz"):
        read_npz(path)


def test_claims_are_added_up(tmp_path: Path) -> None:
    """Two arrays of 600 bytes each are above 1000."""
    write_npz(tmp_path / "a.npz", {"a": np.zeros(75), "b": np.zeros(75)})
    assert len(read_npz(tmp_path / "a.npz", max_bytes=1200)) == 2
    with pytest.raises(ArraysFileError, match="1200 bytes of arrays"):
        read_npz(tmp_path / "a.npz", max_bytes=1199)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_no_array_stands_twice_or_is_too_many(tmp_path: Path) -> None:
    """Entries that are no arrays, two of one name, 257 of them."""
    empty = header("(0,)")
    for entries, expected in (
        ([("readme.txt", b"hello")], "is no array"),
        ([(".npy", empty)], "is no array"),
        ([("a.npy", empty), ("a.npy", empty)], "a stands twice"),
        ([(f"{n}.npy", empty) for n in range(257)], "257 arrays, more than 256"),
    ):
        with pytest.raises(ArraysFileError, match=expected):
            read_npz(packed(tmp_path / "x.npz", *entries))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    """In words; what is not there is not asked whether it is complete."""
    with pytest.raises(ArraysFileError, match="no such file") as missing:
        read_npz(tmp_path / "none.npz")
    assert "complete" not in str(missing.value)
    with pytest.raises(ArraysFileError, match="Is a directory"):
        read_npz(tmp_path)


GOOD = {"a": np.arange(40.0).reshape(5, 8), "long/name": np.array(["x", "yz"]), "n": np.array(3)}


@given(st.data())
@IN_ONE_FOLDER
def test_damage_never_passes_for_other_values(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed or cut anywhere: the arrays as written, or the one error, never another."""
    path = tmp_path / "a.npz"
    write_npz(path, GOOD)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    try:
        found = read_npz(path)
    except ArraysFileError:
        return
    for name in set(found) & set(GOOD):
        np.testing.assert_array_equal(found[name], GOOD[name])


@given(st.binary(max_size=300), st.booleans())
@IN_ONE_FOLDER
def test_garbage_raises_the_one_error(tmp_path: Path, content: bytes, framed: bool) -> None:
    """Any bytes as a file, or as an array's header."""
    path = tmp_path / "a.npz"
    size = len(content).to_bytes(2, "little")
    if framed:
        packed(path, ("a.npy", b"\x93NUMPY\x01\x00" + size + content))
    else:
        path.write_bytes(content)
    with pytest.raises(ArraysFileError):
        read_npz(path)


def test_objects_are_not_written_and_the_old_content_stays(tmp_path: Path) -> None:
    """A refused write changes nothing and leaves nothing beside the file."""
    path = tmp_path / "a.npz"
    write_npz(path, GOOD)
    before = path.read_bytes()
    for bad in ({"a": np.array([object()])}, {str(n): np.zeros(1) for n in range(257)}):
        with pytest.raises(ValueError, match=r"numbers or text|can be read again"):
            write_npz(path, bad)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_folder_is_one_clear_error(tmp_path: Path) -> None:
    """A folder that is missing, or is a file."""
    (tmp_path / "file").write_bytes(b"")
    for folder in ("none", "file"):
        with pytest.raises(ArraysFileError, match="cannot write"):
            write_npz(tmp_path / folder / "a.npz", GOOD)


WRITER = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from edge_agent.inference.arrays_file import ArraysFileError, write_npz
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_npz(Path(sys.argv[1]), {"a": np.zeros(100_000)})
except ArraysFileError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A process that may write 100 kB of 800: it says so, the old arrays are still there."""
    path = tmp_path / "a.npz"
    write_npz(path, GOOD)
    done = subprocess.run(
        [sys.executable, "-c", WRITER, path], capture_output=True, text=True, check=True, timeout=60
    )
    assert "File too large" in done.stdout
    assert set(read_npz(path)) == set(GOOD)
    assert list(tmp_path.iterdir()) == [path]
