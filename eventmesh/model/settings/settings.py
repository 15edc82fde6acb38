"""What the environment decides: where things are and how the process behaves.

Read once, where a program starts, and handed down from there: nothing else in the package reads
the environment. The variables are listed in docs/settings.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, get_args
from urllib.parse import urlencode, urlsplit

from eventmesh.model.access.addresses import parse_hosts, parse_networks, parse_trust
from eventmesh.model.broker import split_hosts
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.settings.values import (
    AUTO,
    BYTES,
    COUNT,
    DESCRIPTOR,
    HOST,
    PORT,
    TIMEOUT,
    Parse,
    parse_choice,
    parse_duration,
    parse_names,
    parse_revision,
    parse_text,
    parse_token,
    whole,
)
from eventmesh.model.value import value

LOCAL_MESH: Final = "http://127.0.0.1:8080"
"""Where a process that is told nothing serves the mesh."""

MEMORY: Final = "memory://"
"""Where the embedded broker is."""

_RABBITMQ: Final = ("amqp", "amqps")
STORES: Final = ("postgresql", "sqlite")
"""The schemes of the URLs of stores."""
_WITH_ONE_HOST: Final = ("http", "https")

BrokerUsers: TypeAlias = Literal["shared", "per-service"]
ErrorDetail: TypeAlias = Literal["private", "full"]
StoreMigrate: TypeAlias = Literal["auto", "never"]
LogFormat: TypeAlias = Literal["auto", "json", "text"]
LogLevel: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@value
class Settings:
    """The settings of one process; the defaults are those of the variables.

    `broker` is where the broker is, "memory://" for the embedded one, and `url` where the
    launcher's commands find the mesh, where `mesh` would not say so: the repr shows neither's
    user, password and query. The HTTP triggers listen at `http_host` and `http_port`, metrics and
    health at `admin_host` and `admin_port`; port 0 is any free one. With `http_fd`, the descriptor
    of a socket that is bound to that address already, they listen at that one, which other
    processes may share.

    A client has `http_header_timeout` seconds to send its request's headers and
    `http_read_timeout` seconds for the body, which has at most `max_body` bytes and comes with
    `http_min_body_rate` bytes a second at the least. There are at most `http_max_connections`, and
    `http_max_peer_connections` of one client; the bodies of all requests together have at most
    `max_bodies` bytes. None stands for what follows from the machine. HTTP is HTTPS
    with `http_tls_certificate`, the path of a PEM file; `http_tls_key` is that of its key, unless
    the same file holds it. `docs` says whether /openapi.json and /docs are served; with
    None they are at local addresses.

    `api` says whether functions can be invoked by name and the mesh be controlled over HTTP. With
    None they can at local addresses, and elsewhere if callers are authenticated: by the tokens and
    access keys in `auth_file`, a path. With `api_port` that API has a listener of its own, at
    `api_host` or the socket `api_fd`, and the other one serves the routes of functions alone.
    `errors` "full" shows every caller of the API what handlers raised. `token` is what the
    launcher's commands authenticate with, or sign with: `access_key_id` and `secret_access_key`.
    Callers may also bear JSON Web Tokens that `jwt_issuer` issued for one of `jwt_audience`; its
    keys are at `jwt_jwks_url`, or in the file `jwt_jwks_file`.

    People log in to the console, which browsers reach at the origin `console_url`, through the
    OpenID Connect provider `console_oidc_issuer`, where it is the client `console_oidc_client_id`
    and asks for `console_oidc_scope`; what they may do is in the claim `console_oidc_claim`.

    `store` is the database of services that name none themselves; "" for none. With
    `store_migrate` "never" the processes leave its tables as they are. It keeps the answers to
    requests with idempotency keys for `store_keep` seconds, and the history of a console of runs
    that began within `console_keep` seconds.

    With `record_payloads` the process remembers the payloads of the runs that it remembers; None
    stands for what fits: `eventmesh dev` does, others do not.

    What runs may finish within `grace` seconds when the process is told to stop. `revision` is what
    whoever deploys calls this version of the services, which the process announces. `log_format`
    "auto" is "text" on a terminal and "json" elsewhere.

    Requests are answered that are for one of `allowed_hosts`; if there are none, for local names
    where `http_host` is one, and for any name elsewhere. The headers by which proxies name the
    client are believed from the networks `trusted_proxies`, and the sampling decision and the
    baggage of a trace from clients in `trace_trust`. Over TLS browsers are told to come by TLS only
    for `http_hsts` seconds (RFC 6797), with 0 they are not.

    With `broker_users` "per-service" each service has a user of the broker with its own name, and
    messages are believed to come from a function only if its service's user sent them. The users
    `gateways` are believed to know who called over HTTP, and what they redrive. With "shared" all
    use one account, which is believed whatever it says. `broker_cluster` says whether the broker is
    a cluster, so that what callers wait for is replicated; None stands for what its URL says: it is
    one if it has several hosts.
    """

    broker: str = MEMORY
    broker_users: BrokerUsers = "shared"
    broker_cluster: bool | None = None
    gateways: tuple[str, ...] = ("gateway",)
    url: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = 8080
    http_fd: int | None = None
    http_header_timeout: float = 10.0
    http_read_timeout: float = 30.0
    http_min_body_rate: int = 1024
    http_max_connections: int | None = None
    http_max_peer_connections: int | None = None
    http_tls_certificate: str = ""
    http_tls_key: str = ""
    http_hsts: float = 30 * 86400.0
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    trace_trust: tuple[str, ...] = ()
    admin_host: str = "127.0.0.1"
    admin_port: int = 9464
    max_body: int = 6 * 1024 * 1024
    max_bodies: int | None = None
    api: bool | None = None
    api_host: str = "127.0.0.1"
    api_port: int | None = None
    api_fd: int | None = None
    auth_file: str = ""
    errors: ErrorDetail = "private"
    token: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    jwt_issuer: str = ""
    jwt_audience: tuple[str, ...] = ()
    jwt_jwks_url: str = ""
    jwt_jwks_file: str = ""
    console_url: str = ""
    console_oidc_issuer: str = ""
    console_oidc_client_id: str = ""
    console_oidc_client_secret: str = ""
    console_oidc_scope: str = "openid"
    console_oidc_claim: str = "scope"
    docs: bool | None = None
    store: str = ""
    store_migrate: StoreMigrate = "auto"
    store_keep: float = 86400.0
    console_keep: float = 7 * 86400.0
    record_payloads: bool | None = None
    grace: float = 25.0
    revision: str = ""
    log_format: LogFormat = "auto"
    log_level: LogLevel = "INFO"

    @property
    def broker_address(self) -> str:
        """The URL of the broker, with what RabbitMQ's adapter must know of users and nodes.

        Options that it has already stay.
        """
        options = urlencode(self._broker_options)
        if not options or scheme_of(self.broker) not in _RABBITMQ:
            return self.broker
        # Not with urlsplit, which refuses some lists of hosts.
        place, _, query = self.broker.partition("?")
        return f"{place}?{query}&{options}" if query else f"{place}?{options}"

    @property
    def _broker_options(self) -> dict[str, str]:
        options: dict[str, str] = {}
        if self.broker_users != "shared":
            gateways = ",".join(self.gateways) or "gateway"
            options |= {"users": self.broker_users, "gateways": gateways}
        if self.broker_cluster is not None:
            options["cluster"] = str(self.broker_cluster).lower()
        return options

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """The settings that the variables in `environ` make; an empty one counts as unset.

        A URL that is unset is read from the file that the variable with "_FILE" behind its name
        names, if there is one: passwords are handed to containers in files.

        Raises SettingsError, which names the variable and says what it accepts.
        """
        texts = {name: _text(name, environ) for name in _VARIABLES}
        return cls(**{name: _read(name, text) for name, text in texts.items() if text})

    @property
    def authenticates(self) -> bool:
        """Whether the callers of the API are authenticated."""
        return bool(self.auth_file or self.jwt_issuer)

    @property
    def mesh(self) -> str:
        """Where commands find the mesh: `url`, or `broker` if other processes can reach it."""
        return self.url or (LOCAL_MESH if self.broker == MEMORY else self.broker_address)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_shown(name, getattr(self, name))}" for name in _VARIABLES)
        return f"Settings({shown})"


def variable(name: str) -> str:
    """The environment variable of a field: EVENTMESH_HTTP_PORT is that of `http_port`."""
    return f"EVENTMESH_{name.upper()}"


def scheme_of(url: str) -> str:
    """The scheme of a URL; "" if it has none. Raises nothing: an error would show the password."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def redacted(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment."""
    scheme, _, rest = url.partition("://")
    # From the last '@': a password that should have been percent-encoded may have some of its own.
    _, at, place = rest.rpartition("@")
    place = place.partition("?")[0].partition("#")[0]
    return f"{scheme}://{'***@' if at else ''}{place}"


_URLS: Final = frozenset(("broker", "store", "url"))
_SECRET: Final = _URLS | {"token", "secret_access_key", "console_oidc_client_secret"}
"""The settings that may be in a file, and are not shown."""


def _shown(name: str, setting: Any) -> str:
    if name in _URLS:
        return repr(redacted(setting))
    return repr("***") if setting and name in _SECRET else repr(setting)


def _text(name: str, environ: Mapping[str, str]) -> str:
    """What the environment has for a field: itself, or in a file that it names."""
    text = environ.get(variable(name), "").strip()
    file = environ.get(f"{variable(name)}_FILE", "").strip()
    if text or not file or name not in _SECRET:
        return text
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"{variable(name)}_FILE={file!r} cannot be read "
            f"({getattr(error, 'strerror', None) or 'it is no text'}): it must be the path of a "
            f"file with {_VARIABLES[name][1]}"
        ) from None


def _read(name: str, text: str) -> Any:
    parse, accepted = _VARIABLES[name]
    try:
        return parse(text)
    except (ValueError, DeclarationError):
        given = " (not shown, it may be secret)" if name in _SECRET else f"={text!r}"
        # The cause would show the value.
        raise SettingsError(f"{variable(name)}{given} must be {accepted}") from None


def _url(text: str) -> str:
    # Of any scheme: which there are is known where the broker is chosen, in `brokers/registry`.
    urls = split_hosts(text)
    if len(urls) > 1 and scheme_of(text) in _WITH_ONE_HOST:
        raise ValueError(text)
    for url in urls:
        parts = urlsplit(url)  # Its hostname and port raise ValueError where they are none.
        misplaced = parts.fragment or "@" in parts.path + parts.query
        if not parts.scheme or not parts.hostname or parts.port == 0 or misplaced:
            raise ValueError(text)
    return text


def _broker(text: str) -> str:
    if text != MEMORY and text.startswith(MEMORY):
        raise ValueError(text)
    return text if text == MEMORY else _url(text)


def _store(text: str) -> str:
    if scheme_of(text) not in STORES:
        raise ValueError(text)
    if scheme_of(text) != "sqlite":
        return _url(text)
    if not text.partition("://")[2].startswith("/"):
        raise ValueError(text)
    return text


_BROKER: Final = (
    "memory:// or amqp://USER:PASSWORD@HOST:PORT/VHOST (amqps:// for TLS; HOST:PORT,HOST:PORT for "
    "the nodes of a cluster), with '/', '@', '#' and '?' in a password percent-encoded"
)
_STORE: Final = (
    "sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with '/', '@', '#' and '?' "
    "in a password percent-encoded"
)

_VARIABLES: Final[Mapping[str, tuple[Parse, str]]] = {
    "broker": (_broker, _BROKER),
    "broker_users": (
        parse_choice({name: name for name in get_args(BrokerUsers)}),
        "shared or per-service",
    ),
    "broker_cluster": AUTO,
    "gateways": (parse_names, "users of the broker, such as gateway, operator"),
    "url": (
        _url,
        "a URL such as http://127.0.0.1:8080 or amqp://USER:PASSWORD@HOST:PORT/VHOST",
    ),
    "http_host": HOST,
    "http_port": PORT,
    "http_fd": DESCRIPTOR,
    "http_header_timeout": TIMEOUT,
    "http_read_timeout": TIMEOUT,
    "http_min_body_rate": (whole(0, float("inf")), "bytes a second, or 0 for any"),
    "http_max_connections": COUNT,
    "http_max_peer_connections": COUNT,
    "http_tls_certificate": (str, "the path of a PEM file"),
    "http_tls_key": (str, "the path of a PEM file"),
    "http_hsts": (parse_duration, "a time: seconds, or with a unit such as 30d, or 0 for none"),
    "allowed_hosts": (parse_hosts, "names such as shop.example.org, *.example.org, or * for any"),
    "trusted_proxies": (parse_networks, "addresses or networks, such as 10.0.0.0/8, ::1"),
    "trace_trust": (parse_trust, "true, false, or addresses and networks such as 10.0.0.0/8"),
    "admin_host": HOST,
    "admin_port": PORT,
    "max_body": BYTES,
    "max_bodies": BYTES,
    "api": AUTO,
    "api_host": HOST,
    "api_port": PORT,
    "api_fd": DESCRIPTOR,
    "auth_file": (str, "the path of a file with tokens and access keys"),
    "errors": (parse_choice({name: name for name in get_args(ErrorDetail)}), "private or full"),
    "token": (parse_token, "a token that 'eventmesh token create' made"),
    "access_key_id": (parse_token, "the id of an access key that 'eventmesh token create' made"),
    "secret_access_key": (parse_token, "the secret of that access key"),
    "jwt_issuer": (str, "what the claim iss of tokens is, such as https://id.example.org"),
    "jwt_audience": (
        parse_names,
        "what the claim aud of tokens has, with commas between",
    ),
    "jwt_jwks_url": (_url, "an https:// URL, or an http:// one of this machine"),
    "jwt_jwks_file": (str, "the path of a JWK set, a JSON file"),
    "console_url": (_url, "a URL without a path, such as https://console.example.org"),
    "console_oidc_issuer": (_url, "what the claim iss is, such as https://id.example.org"),
    "console_oidc_client_id": (parse_text, "the id that the provider gave the console"),
    "console_oidc_client_secret": (parse_text, "the secret of that client"),
    "console_oidc_scope": (parse_text, "scopes with spaces between, such as openid groups"),
    "console_oidc_claim": (parse_text, "the name of a claim, such as groups"),
    "docs": AUTO,
    "store": (_store, _STORE),
    "store_migrate": (
        parse_choice({name: name for name in get_args(StoreMigrate)}),
        "auto or never",
    ),
    "store_keep": TIMEOUT,
    "console_keep": TIMEOUT,
    "record_payloads": AUTO,
    "grace": (parse_duration, "a time: seconds, or with a unit such as 500ms or 2m"),
    "revision": (parse_revision, "letters, digits and any of _ . : @ / + -, 128 at most"),
    "log_format": (
        parse_choice({name: name for name in get_args(LogFormat)}),
        "auto, json or text",
    ),
    "log_level": (
        parse_choice({name.lower(): name for name in get_args(LogLevel)}),
        "debug, info, warning, error or critical",
    ),
}
"""For each field, how its variable's text is read and what that accepts, in words."""
