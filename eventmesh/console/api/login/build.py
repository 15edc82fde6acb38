"""Builds what logs people in, as the settings say."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from eventmesh.aio.clock import Clock
from eventmesh.console.api.login.cookies import build_cookie
from eventmesh.console.api.login.pending import PendingLogins
from eventmesh.console.api.login.routes import CALLBACK, Login, LoginCookies
from eventmesh.console.api.login.sessions import Sessions
from eventmesh.http.auth.fetch import check_url
from eventmesh.http.auth.oidc import OidcClient, OidcProvider
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.settings import Settings, variable

_PORTS = {"http": 80, "https": 443}


def build_login(settings: Settings, clock: Clock, tasks: asyncio.TaskGroup) -> Login | None:
    """Build what logs people in; None where no provider is configured.

    `tasks` fetch the provider's keys. Raises SettingsError for settings that make no sense.
    """
    names = ("console_oidc_issuer", "console_oidc_client_id", "console_url")
    given = [name for name in names if getattr(settings, name)]
    if not given and not settings.console_oidc_client_secret:
        return None
    if len(given) != len(names):
        raise SettingsError(
            f"{', '.join(map(variable, names))} are set together, or none of them: "
            "people log in to the console by all of them"
        )
    origin = read_origin(settings.console_url)
    client = OidcClient(
        settings.console_oidc_issuer,
        settings.console_oidc_client_id,
        f"{origin}{CALLBACK}",
        settings.console_oidc_client_secret,
        settings.console_oidc_scope,
    )
    try:
        provider = OidcProvider(client, clock, tasks)
    except DeclarationError as error:
        raise SettingsError(f"{variable('console_oidc_issuer')}: {error}") from None
    cookies = LoginCookies(
        build_cookie(origin, "login", "Lax"), build_cookie(origin, "console", "Strict")
    )
    return Login(
        provider,
        Sessions(clock),
        PendingLogins(clock),
        cookies,
        origin,
        claim=settings.console_oidc_claim,
        tokens=settings.authenticates,
    )


def read_origin(url: str) -> str:
    """Return the origin of a URL, as browsers write it. Raises SettingsError for another URL."""
    name = variable("console_url")
    parts = urlsplit(check_url(url, f"{name}: the console cannot be at"))
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise SettingsError(f"{name}={url!r} must be without a path: https://console.example.org")
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
