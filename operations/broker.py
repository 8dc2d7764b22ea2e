"""How to reach the MQTT broker, the same for devices and base."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

import paho.mqtt.client as mqtt
from msgspec import Meta, Struct
from paho.mqtt.enums import CallbackAPIVersion

from operations.errors import OperatorError, Problem


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Files in PEM form; the certificate's common name is the device id."""

    ca: str | None = None
    """Certificate authority of the broker; the system's own where absent."""
    certificate: str | None = None
    key: str | None = None


class BrokerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Address and credentials of the broker."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    username: str | None = None
    password_file: str | None = None
    """Read at start; a password never stands in a settings file."""
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    tls: TlsSettings | None = None


def new_client(
    settings: BrokerSettings, client_id: str, *, clean_session: bool, manual_ack: bool = False
) -> mqtt.Client:
    """An MQTT 3.1.1 client, set up and not yet connected.

    Raises:
        OperatorError: a certificate, key or password file cannot be used.
    """
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=clean_session,
        protocol=mqtt.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=manual_ack,
    )
    if settings.username is not None:
        client.username_pw_set(settings.username, _password(settings))
    if settings.tls is not None:
        client.tls_set_context(_tls_context(settings.tls))
    return client


def _password(settings: BrokerSettings) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(
            "cannot read the broker's password",
            [Problem(str(error), "check broker.password_file and its permissions")],
        ) from error


def _tls_context(settings: TlsSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise OperatorError(
            "cannot use the TLS files",
            [Problem(str(error), "check broker.tls: ca, certificate and key, in PEM form")],
        ) from error
    return context
