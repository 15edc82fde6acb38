"""Parses AMQP URLs, with TLS and credentials from the files that they name."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from eventmesh.brokers.rabbitmq.limits import MAX_SHORT_STRING
from eventmesh.model.broker import split_hosts
from eventmesh.model.errors import AccessDenied, SettingsError
from eventmesh.model.value import value

PORTS: Final = {"amqp": 5672, "amqps": 5671}
TLS_OPTIONS: Final = ("cafile", "certfile", "keyfile", "verify", "auth")
OPTIONS: Final = (*TLS_OPTIONS, "cluster", "gateways", "password_file", "users")

_FILES: Final = frozenset(("password_file", "cafile", "certfile", "keyfile"))
_GUEST: Final = "guest"
_CLUSTER: Final = {"true": True, "false": False, "auto": None}


@value
class Host:
    """A host name or an IP address, with the port of RabbitMQ there."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@value
class Address:
    """The address of a broker and the credentials; `repr` never shows the password.

    Several hosts are nodes of one cluster: each serves as well as the others.
    """

    hosts: tuple[Host, ...]
    virtual_host: str
    user: str
    password: str
    tls: ssl.SSLContext | None = None
    external: bool = False
    """Authenticate by the client's certificate (SASL EXTERNAL)."""
    url: str = ""
    """The URL that it was parsed from, if files are named in it."""
    per_service: bool = False
    """Whether the user is that of one service, with the restricted topology."""
    gateways: tuple[str, ...] = ()
    """Users that are believed to redrive what they found in dead letters."""
    cluster: bool | None = None
    """Whether RabbitMQ has several nodes; None if nobody said so."""

    @property
    def sending_user(self) -> str:
        """The user to name in what is published, so that RabbitMQ verifies it; "" for none.

        The user of a certificate is known to RabbitMQ alone, unless the URL names it too, as it
        must where each service has one.
        """
        return self.user if self.per_service or not self.external else ""

    @property
    def is_cluster(self) -> bool:
        """Whether RabbitMQ is a cluster: as was said, else if there are several hosts."""
        return len(self.hosts) > 1 if self.cluster is None else self.cluster

    def renewed(self) -> Address:
        """Return the address with what its files have now: they may have been replaced.

        Raises AccessDenied if they cannot be used.
        """
        if not self.url:
            return self
        try:
            return parse_address(self.url)
        except SettingsError as error:
            raise AccessDenied(str(error)) from None

    def at(self, host: Host) -> Address:
        """Return the address with one of its hosts alone."""
        return replace(self, hosts=(host,))

    def __repr__(self) -> str:
        scheme = "amqp" if self.tls is None else "amqps"
        hosts = ",".join(map(str, self.hosts))
        return f"{scheme}://{hosts}/{quote(self.virtual_host, safe='')}"


def parse_address(url: str) -> Address:
    """Parse an AMQP URL (https://www.rabbitmq.com/docs/uri-spec).

    Special characters in its parts are percent-encoded: a slash in a password is %2F. The virtual
    host is "/" without a path or with only a slash, as in other clients. The nodes of a cluster are
    listed with commas, each with a port of its own: amqp://user:password@a:5672,b:5672,c/vhost.

    Options after `?`: `password_file` (its first line is the password), and with amqps:// also
    `cafile` (certificate authorities in place of the system's), `certfile` and `keyfile` (a
    client certificate), `auth=external` (log in by that certificate), and `verify=none` (accept
    any certificate: for tests). `users=per-service` says that each service has a user with its own
    name, and `gateways` names those of gateways, separated by commas. `cluster=true` or `false`
    says whether RabbitMQ has several nodes, where the hosts do not.

    The files are read again for every new connection, so that a password or a certificate can be
    replaced while a process runs. Raises SettingsError, which never shows the password.
    """
    split = [_split(each) for each in split_hosts(url)]
    parts, _ = split[0]
    options = _options(parts.query)
    secure = parts.scheme == "amqps"
    needless = [name for name in TLS_OPTIONS if name in options]
    if needless and not secure:
        raise SettingsError(
            f"the broker's URL has the option {needless[0]!r}, which needs amqps://"
        )
    user = _GUEST if parts.username is None else unquote(parts.username)
    password = _GUEST if parts.password is None else unquote(parts.password)
    address = Address(
        tuple(
            Host(unquote(each.hostname or ""), port or PORTS[each.scheme]) for each, port in split
        ),
        unquote(parts.path[1:]) or "/",
        user,
        _password(password, options),
        _tls(options) if secure else None,
        options.get("auth") == "external",
        url if _FILES & options.keys() else "",
        "users" in options,
        tuple(filter(None, options.get("gateways", "").split(","))),
        _CLUSTER[options.get("cluster", "auto")],
    )
    _check(address)
    return address


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # Its message may contain a part of the password.
        raise SettingsError(
            "the broker's URL cannot be read: write amqp://user:password@host:port/vhost, and "
            "percent-encode special characters, such as '/' in a password as %2F"
        ) from None
    if parts.scheme not in PORTS or not parts.hostname:
        scheme = f"{parts.scheme}://" if parts.scheme else "one without a scheme"
        raise SettingsError(
            "the broker's URL must be amqp://user:password@host:port/vhost or amqps://…, not "
            f"{scheme}"
        )
    if "@" in parts.path + parts.query or parts.fragment:
        raise SettingsError(
            "the broker's URL has an '@' after its host, or a '#': percent-encode them, and a "
            "'/' or '?' in a password, as %40, %23, %2F and %3F"
        )
    return parts, port


def _options(query: str) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    unknown = options.keys() - set(OPTIONS)
    if unknown:
        raise SettingsError(
            f"the broker's URL has an unknown option {min(unknown)!r}: there are "
            f"{', '.join(sorted(OPTIONS))}"
        )
    if "" in options.values():
        raise SettingsError("the broker's URL has an option without a value")
    for name, only in (("auth", "external"), ("users", "per-service"), ("verify", "none")):
        if options.get(name, only) != only:
            raise SettingsError(f"the option {name!r} of the broker's URL can only be {only!r}")
    if options.get("cluster", "auto") not in _CLUSTER:
        raise SettingsError("the option 'cluster' of the broker's URL is true, false or auto")
    if "keyfile" in options and "certfile" not in options:
        raise SettingsError("the broker's URL has a keyfile without a certfile: give both")
    return options


def _password(password: str, options: Mapping[str, str]) -> str:
    path = options.get("password_file")
    if path is None:
        return password
    try:
        return Path(path).read_text(encoding="utf-8").split("\n", 1)[0].removesuffix("\r")
    except OSError as error:
        raise SettingsError(f"the broker's password_file cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the broker's password_file {path!r} is not UTF-8") from None


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("cafile"))
        if "certfile" in options:
            # An empty password, because OpenSSL asks for one at the terminal otherwise.
            context.load_cert_chain(options["certfile"], options.get("keyfile"), password="")
    except OSError as error:
        raise SettingsError(
            f"the TLS files in the broker's URL cannot be used ({error}): they are PEM files, and "
            "a key without a password"
        ) from None
    if options.get("verify") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check(address: Address) -> None:
    """Raise SettingsError for values that an AMQP handshake cannot carry."""
    if len(address.virtual_host.encode(errors="replace")) > MAX_SHORT_STRING:
        raise SettingsError(
            f"the virtual host in the broker's URL is longer than {MAX_SHORT_STRING} bytes"
        )
    if "\0" in address.user + address.password:  # It is the separator of SASL PLAIN, RFC 4616.
        raise SettingsError("the user or the password in the broker's URL has a NUL in it")
