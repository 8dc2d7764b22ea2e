"""The shipped settings file says what the program does."""

from __future__ import annotations

import re

import msgspec
import pytest

from operations import settings_file
from operations.broker import TlsSettings
from operations.errors import SettingsError
from server_sync.settings import ServerSettings


def keys(kind, prefix=()):
    """All dotted keys of a settings struct."""
    for field in msgspec.structs.fields(kind):
        inner = {"broker.tls": TlsSettings}.get(".".join((*prefix, field.name)), field.type)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from keys(inner, (*prefix, field.encode_name))
        else:
            yield (*prefix, field.encode_name)


def uncommented(text):
    """The file with its commented-out settings put in force."""
    setting = r"(\[[a-z.]+\]|[a-z_]+ = \S.*)"
    return re.sub(rf"^# {setting}$", r"\1", text, flags=re.MULTILINE)


def test_the_shipped_file_holds_the_defaults(repository):
    """Loading configs/server.toml gives exactly the defaults of the code."""
    assert settings_file.load(repository / "configs/server.toml", ServerSettings) == (
        ServerSettings()
    )


def test_every_key_stands_in_the_shipped_file(repository):
    """Each key of each settings struct is in configs/server.toml, in force or commented out."""
    text = uncommented((repository / "configs/server.toml").read_text())
    content = msgspec.toml.decode(text)
    for path in keys(ServerSettings):
        place = content
        for name in path:
            assert name in place, ".".join(path)
            place = place[name]


def test_every_commented_setting_is_accepted(repository):
    """The commented lines of configs/server.toml load too, so none is misspelt."""
    text = uncommented((repository / "configs/server.toml").read_text())
    loaded = settings_file.parse(text, ServerSettings, "server.toml")
    assert loaded.broker.tls is not None
    assert loaded.broker.username == "base"


def test_an_unknown_key_is_refused_with_the_nearest_known_name(tmp_path):
    """A misspelt key stops the start and names the right one, beside all else that is wrong."""
    file = tmp_path / "server.toml"
    file.write_text("[intake]\nnear_duplicates_bits = 3\nmax_pixels = 0\n")
    with pytest.raises(SettingsError) as caught:
        settings_file.load(file, ServerSettings)
    text = str(caught.value)
    assert "near_duplicate_bits" in text
    assert "max_pixels" in text
