"""What authenticates the callers of the APIs, as the settings say."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eventmesh.aio.clock import Clock
from eventmesh.http.auth.authenticator import AnyOf, Authenticator
from eventmesh.http.auth.credential_file import CredentialFile
from eventmesh.http.auth.jwt import JwtAuthenticator, JwtVerifier
from eventmesh.http.auth.sigv4.authenticator import SigV4Authenticator
from eventmesh.http.auth.tokens import TokenAuthenticator
from eventmesh.http.server.body import body_limit
from eventmesh.model.access.addresses import is_loopback
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.settings import Settings, variable


def build_authenticator(
    settings: Settings, clock: Clock, tasks: asyncio.TaskGroup
) -> Authenticator | None:
    """Build what authenticates callers; None where nothing is configured.

    `tasks` fetch an issuer's keys. Raises SettingsError where a file cannot be used.
    """
    authenticators: list[Authenticator] = []
    if settings.auth_file:
        file = CredentialFile(Path(settings.auth_file), clock)
        authenticators += [
            TokenAuthenticator(file, clock),
            SigV4Authenticator(file.find_key, clock, body_limit(settings)),
        ]
    if settings.jwt_issuer:
        verifier = _build_verifier(settings, clock)
        verifier.use_tasks(tasks)
        authenticators.append(JwtAuthenticator(verifier))
    return AnyOf(authenticators) if authenticators else None


def _build_verifier(settings: Settings, clock: Clock) -> JwtVerifier:
    try:
        return JwtVerifier(
            settings.jwt_issuer,
            settings.jwt_audience,
            jwks_url=settings.jwt_jwks_url,
            jwks_file=settings.jwt_jwks_file,
            clock=clock,
        )
    except DeclarationError as error:
        names = ("jwt_issuer", "jwt_audience", "jwt_jwks_url", "jwt_jwks_file")
        raise SettingsError(f"{', '.join(map(variable, names))}: {error}") from None


def serves_docs(settings: Settings) -> bool:
    """Whether the docs are served: where the settings do not say, at a local address only."""
    return is_loopback(settings.http_host) if settings.docs is None else settings.docs


def serves_api_beside(settings: Settings) -> bool:
    """Whether the APIs are served at the address of the routes. Raises as `serves_api` does."""
    return settings.api_port is None and serves_api(settings)


def serves_api(settings: Settings) -> bool:
    """Whether the control API and Lambda's API are served.

    Beyond loopback they are only where callers are authenticated. Raises SettingsError where the
    settings ask for them without.
    """
    if settings.api is False:
        return False
    host = settings.http_host if settings.api_port is None else settings.api_host
    if is_loopback(host) or settings.authenticates:
        return True
    if settings.api is None:
        return False
    raise SettingsError(
        f"{variable('api')}=true at {host} would let everybody who reaches it invoke every "
        f"function, and read and purge dead letters: say who may with {variable('auth_file')} "
        "('eventmesh token create' makes the file), or serve the API on this machine alone with "
        f"{variable('api_port')}"
    )
