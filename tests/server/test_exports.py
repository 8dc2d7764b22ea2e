"""Samples taken out: the exported folder and the commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from server_sync.cli import main
from server_sync.curation import queries
from server_sync.exports.folder import export_folder


def found(shelf, **wanted):
    with shelf.metadata.reading() as connection:
        wanted = queries.Filter(**wanted)
        result = queries.find(connection, wanted)
        assert queries.count(connection, wanted) == len(result)
        return result


def test_export_writes_pictures_and_a_valid_index(shelf, tmp_path):
    """13 pictures with their bytes, 12 with a point, one with a null geometry (RFC 7946)."""
    with shelf.metadata.reading() as connection:
        wanted = queries.Filter(outcome="pictures")
        done = export_folder(queries.every(connection, wanted), shelf.blobs, tmp_path)
        assert (done.samples, done.written, done.placed, done.missing) == (13, 13, 11, ())
        index = (tmp_path / "index.geojson").read_bytes()
        again = export_folder(queries.every(connection, wanted), shelf.blobs, tmp_path)
    assert again.written == 0
    assert (tmp_path / "index.geojson").read_bytes() == index
    content = json.loads(index)
    assert content["type"] == "FeatureCollection"
    for feature in content["features"]:
        properties = feature["properties"]
        data = (tmp_path / properties["file"]).read_bytes()
        assert data == shelf.blobs.get(properties["sha256"])
        if feature["geometry"] is not None:
            longitude, latitude = feature["geometry"]["coordinates"]
            assert 8.0 <= longitude < 8.1
            assert 46.0 <= latitude < 46.1
    names = {path.name for path in (tmp_path / "images").iterdir()}
    assert names == {feature["properties"]["file"][7:] for feature in content["features"]}


def test_a_narrower_export_removes_what_the_former_one_listed(shelf, tmp_path):
    """Only pictures that the old index names go; a stranger's file and odd names stay."""
    (tmp_path / "images").mkdir()
    own = tmp_path / "images" / "mine.png"
    own.write_bytes(b"x")
    with shelf.metadata.reading() as connection:
        export_folder(queries.every(connection, queries.Filter()), shelf.blobs, tmp_path)
        index = json.loads((tmp_path / "index.geojson").read_text())
        for name in ("images/mine.png", "../index.geojson", 7):
            index["features"].append({"properties": {"file": name}})
        (tmp_path / "index.geojson").write_text(json.dumps(index))
        river = queries.every(connection, queries.Filter(label="river"))
        done = export_folder(river, shelf.blobs, tmp_path)
    assert (done.samples, done.written, done.removed) == (4, 0, 9)
    assert own.exists()
    assert len(list((tmp_path / "images").iterdir())) == 5


def test_export_tells_devices_with_the_same_id_apart(tmp_path, picture, describe, new_shelf):
    """Two devices that drew the same uuid give two files; a lost blob is named, not hidden."""
    shelf = new_shelf(tmp_path / "store")
    for number, device in enumerate(("drone-1", "drone-2", "drone-3")):
        payload = picture(number)
        shelf.offer(device, describe(payload, sample_id="a" * 32, payload=payload))
    lost = found(shelf, device="drone-3")[0].payload_sha256
    (tmp_path / "store" / "blobs" / lost[:2] / lost[2:]).unlink()
    with shelf.metadata.reading() as connection:
        done = export_folder(
            queries.every(connection, queries.Filter()), shelf.blobs, tmp_path / "out"
        )
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {
        f"{'a' * 32}.png",
        f"{'a' * 32}-drone-2.png",
    }
    assert done.missing == (f"drone-3/{'a' * 32}",)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command in this process; gives its stdout and stderr, its exit code checked."""

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["server-sync", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
        return capsys.readouterr()

    return run


def test_the_installed_program_runs(shelf):
    """The program as a process of its own: JSON on stdout and nothing else."""
    program = [sys.executable, "-m", "server_sync", "status", "--json", "--data", shelf.folder]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["outcomes"] == {"stored": 12, "duplicate": 1, "wanted": 1}
    assert done.stderr == ""


def test_commands_list_show_and_export(shelf, tmp_path, command):
    """JSON out, filters in, a prefix finds its sample, an export holds what was asked for."""
    data = ("--data", shelf.folder)
    listed = json.loads(command("samples", "list", "--class", "river", "--json", *data).out)
    assert {each["class"] for each in listed} == {"river"}
    assert len(listed) == 4
    prefix = listed[0]["sample"][:10]
    shown = json.loads(command("samples", "show", prefix, "--json", *data).out)
    assert shown == listed[0]
    told = command("samples", "show", prefix, *data).out
    assert listed[0]["sha256"] in told
    assert "of familiar tiles" in told or "Drawn at random" in told
    out = tmp_path / "out"
    done = json.loads(command("samples", "export", out, "--class", "river", "--json", *data).out)
    assert done["samples"] == 4
    assert len(list((out / "images").iterdir())) == 4
    assert "4 of 4 samples" in command("samples", "list", "--class", "river", *data).out
    assert "duplicate" in command("status", *data).out


def test_commands_say_what_is_wrong(shelf, tmp_path, command):
    """Wrong flags end with 2, a missing store or sample with 3, each with a hint."""
    data = ("--data", shelf.folder)
    assert "give one of" in command("samples", "list", "--outcome", "x", *data, code=2).err
    assert "no sample" in command("samples", "show", "ffff", *data, code=3).err
    assert "several" in command("samples", "show", "0", *data, code=2).err
    assert "no such file" in command("samples", "list", "--data", tmp_path, code=3).err
    wrong = ("serve", "--data", tmp_path, "--embedded-broker", "0.0.0.0:0")
    assert "mosquitto" in command(*wrong, code=3).err
    both = ("--broker", "localhost:1", "--embedded-broker", "localhost:0")
    assert "exclude" in command("serve", "--data", tmp_path, *both, code=2).err
    settings = tmp_path / "server.toml"
    settings.write_text('[broker.tls]\nca = "/nowhere/ca.pem"\n')
    tls = ("serve", "--data", tmp_path, "--config", settings, "--no-web")
    assert "TLS files" in command(*tls, code=3).err
    assert "HOST:PORT" in command("serve", "--data", tmp_path, "--web", "nowhere", code=2).err
