"""Where RabbitMQ is: an AMQP URL, with TLS and credentials from files where it names them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from eventmesh.brokers.rabbitmq.wire.connection import Address
from eventmesh.errors import SettingsError

PORTS: Final = {"amqp": 5672, "amqps": 5671}
OPTIONS: Final = ("cafile", "certfile", "keyfile", "password_file", "auth", "verify")


def parse_address(url: str) -> Address:
    """The address that an AMQP URL names (https://www.rabbitmq.com/docs/uri-spec).

    Options behind `?`: `cafile` (whom to trust instead of the system's authorities), `certfile`
    and `keyfile` (a client certificate), `auth=external` (log in by that certificate),
    `password_file` (its first line is the password), `verify=none` (trust anybody: for tests).

    Raises SettingsError, which never shows the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"the broker's URL cannot be read: {error}") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise SettingsError(
            "the broker's URL must be amqp://user:password@host:port/vhost or amqps://…, "
            f"not {parts.scheme or 'without a scheme'}://{parts.hostname or ''}"
        )
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = options.keys() - set(OPTIONS)
    if unknown:
        raise SettingsError(
            f"the broker's URL has an unknown option {min(unknown)!r}: there are "
            f"{', '.join(OPTIONS)}"
        )
    return Address(
        parts.hostname,
        port or PORTS[parts.scheme],
        # No path means the default virtual host, "/"; the path "/" means one without a name.
        unquote(parts.path[1:]) if len(parts.path) > 1 else "/",
        unquote(parts.username or "guest"),
        _password(unquote(parts.password or "guest"), options),
        _tls(options) if parts.scheme == "amqps" else None,
        options.get("auth") == "external",
    )


def _password(password: str, options: Mapping[str, str]) -> str:
    path = options.get("password_file")
    if path is None:
        return password
    try:
        return Path(path).read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except OSError as error:
        raise SettingsError(f"the broker's password_file cannot be read: {error}") from None


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("cafile"))
        if "certfile" in options:
            context.load_cert_chain(options["certfile"], options.get("keyfile"))
    except OSError as error:
        raise SettingsError(f"the broker's TLS files cannot be used: {error}") from None
    if options.get("verify") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
