"""The shipped settings file says what the program does."""

from __future__ import annotations

import re

import pytest

from operations import settings_file
from operations.errors import SettingsError
from server_sync.settings import ServerSettings


def uncommented(text):
    """The file with its commented-out settings put in force."""
    setting = r"(\[[a-z.]+\]|[a-z_]+ = \S.*)"
    return re.sub(rf"^# {setting}$", r"\1", text, flags=re.MULTILINE)


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
