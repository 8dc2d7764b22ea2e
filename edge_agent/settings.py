"""`edge.toml`: each part owns its settings, this file composes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from edge_agent.imagery.payload import PayloadSettings
from edge_agent.imagery.settings import ImagerySettings
from edge_agent.inference.session import InferenceSettings
from edge_agent.records.settings import RecordsSettings
from edge_agent.selection.policy import PolicySettings
from edge_agent.uplink.settings import UplinkSettings
from operations import settings_file
from operations.broker import BrokerSettings


class SurveySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is flown, and with which model."""

    name: Annotated[str, Meta(max_length=128)] = ""
    """Names the survey in every record; empty takes the imagery folder's name."""
    bundle: str = "/var/lib/tilesift/bundle"
    """Folder of the model bundle."""


class EdgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `edge.toml`; every section and key may be left out."""

    survey: SurveySettings = SurveySettings()
    imagery: ImagerySettings = ImagerySettings()
    inference: InferenceSettings = InferenceSettings()
    policy: PolicySettings = PolicySettings()
    payload: PayloadSettings = PayloadSettings()
    records: RecordsSettings = RecordsSettings()
    uplink: UplinkSettings = UplinkSettings()
    broker: BrokerSettings = BrokerSettings()


def load_settings(path: Path | None) -> EdgeSettings:
    """The settings in the file at `path`, or all defaults without one.

    Raises:
        SettingsError: the file cannot be read or does not hold; every problem is listed.
    """
    return EdgeSettings() if path is None else settings_file.load(path, EdgeSettings)
