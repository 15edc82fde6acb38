"""Opens the authorizers of routes, and asks them who sent a request."""

from __future__ import annotations

import hashlib
from asyncio import TaskGroup
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from eventmesh.aio.clock import Clock
from eventmesh.aio.tasks import task_group
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.spec import FunctionSpec, Guard, GuardKey, SourceContext
from eventmesh.http.auth.api_keys import ApiKeyVerifier
from eventmesh.http.auth.jwt import JwtVerifier, read_bearer, token_scopes
from eventmesh.http.route import HttpRoute, find_alternatives
from eventmesh.model.access.authorizers import (
    Alternative,
    Anyone,
    ApiKeys,
    Authorizer,
    Jwt,
)
from eventmesh.model.access.identity import Identity
from eventmesh.model.duration import seconds
from eventmesh.model.errors import AccessDenied, Problem, Unauthenticated
from eventmesh.model.invocation import HttpRequest

MAX_KEPT: Final = 1000
"""Identities that one authorizer keeps."""

_TOKEN_DOTS: Final = 2


class Verifier(Protocol):
    """Verifies one kind of credentials. `challenge` says how to send them."""

    @property
    def challenge(self) -> str: ...

    async def identify(self, request: HttpRequest) -> Identity | None:
        """Find out who sent a request; None where it has no credentials of this kind.

        Raises AccessDenied, Unauthenticated or Problem.
        """
        ...


def find_guard(function: FunctionSpec, route: HttpRoute, context: SourceContext) -> Guard | None:
    """Return what verifies the callers of a route; None where everyone may use it."""
    if find_alternatives(route, function.auth) is None:
        return None
    return context.guards[function.full_name, route.template.key]


@asynccontextmanager
async def open_guards(
    functions: Sequence[FunctionSpec], clock: Clock
) -> AsyncGenerator[Mapping[GuardKey, Guard]]:
    """Open the authorizers of all routes while entered: one for all that declare the same.

    Raises SettingsError and DeclarationError for what cannot be used.
    """
    async with task_group() as tasks:
        opened: dict[Alternative, Verifier] = {}
        guards: dict[GuardKey, Guard] = {}
        for function, route in _routes(functions):
            alternatives = find_alternatives(route, function.auth)
            if alternatives is None:
                continue
            for each in alternatives:
                if each not in opened and not isinstance(each, Anyone):
                    opened[each] = _open(each, clock, tasks)
            verifiers = [opened[each] for each in alternatives if each in opened]
            optional = len(verifiers) < len(alternatives)
            guards[function.full_name, route.template.key] = _build_guard(verifiers, optional)
        yield guards


def _routes(functions: Sequence[FunctionSpec]) -> Iterator[tuple[FunctionSpec, HttpRoute]]:
    for function in functions:
        for trigger in function.triggers:
            if isinstance(trigger, HttpRoute):
                yield function, trigger


def _open(declared: ApiKeys | Jwt | Authorizer, clock: Clock, tasks: TaskGroup) -> Verifier:
    match declared:
        case ApiKeys():
            return _RequireScopes(ApiKeyVerifier(declared, clock), declared.scopes)
        case Jwt():
            return _RequireScopes(_TokenVerifier(declared, clock, tasks), declared.scopes)
        case Authorizer():
            return _RequireScopes(_FunctionVerifier(declared, clock), declared.scopes)


def _build_guard(verifiers: Sequence[Verifier], optional: bool) -> Guard:  # noqa: FBT001
    challenges = ", ".join(dict.fromkeys(verifier.challenge for verifier in verifiers))

    async def verify(request: HttpRequest) -> str:
        refusal: AccessDenied | Problem | None = None
        for verifier in verifiers:
            try:
                identity = await verifier.identify(request)
            except (AccessDenied, Problem) as error:
                # Who is known and may not, says more than that one of them does not know a caller.
                if refusal is None or isinstance(refusal, Unauthenticated):
                    refusal = error
                continue
            if identity is not None:
                return _carried(identity, challenges)
        if refusal is not None:
            raise refusal
        if optional:
            return ""
        raise Unauthenticated("this route needs credentials, and there are none", challenges)

    return verify


def _carried(identity: Identity, challenges: str) -> str:
    """Encode who sent a request. Raises Unauthenticated for a name that no message can carry."""
    text = encode_identity(identity)
    if identity.principal and not text:
        raise Unauthenticated("the credentials have a name that cannot be used", challenges)
    return text


class _RequireScopes:
    """Lets those in who have all of some scopes."""

    def __init__(self, verifier: Verifier, scopes: Sequence[str]) -> None:
        self.challenge = verifier.challenge
        self._verifier = verifier
        self._scopes = scopes
        scheme = verifier.challenge.partition(" ")[0]
        names = " ".join(scopes)
        # RFC 6750, section 3.1.
        self._refusal = f'{scheme} error="insufficient_scope", scope="{names}"'

    async def identify(self, request: HttpRequest) -> Identity | None:
        identity = await self._verifier.identify(request)
        if identity is None:
            return None
        if missing := [scope for scope in self._scopes if scope not in identity.scopes]:
            raise Problem(
                403,
                f"this needs the scope {missing[0]!r}, which the credentials do not have",
                headers={"WWW-Authenticate": self._refusal},
            )
        return identity


class _TokenVerifier:
    """Verifies the tokens of an issuer. The identity has all scopes of the token."""

    def __init__(self, declared: Jwt, clock: Clock, tasks: TaskGroup) -> None:
        self.challenge = "Bearer"
        is_url = declared.jwks.startswith(("http://", "https://"))
        self._verifier = JwtVerifier(
            declared.issuer,
            declared.audience,
            jwks_url=declared.jwks if is_url else "",
            jwks_file="" if is_url else declared.jwks,
            clock=clock,
        )
        self._verifier.use_tasks(tasks)

    async def identify(self, request: HttpRequest) -> Identity | None:
        token = read_bearer(request.headers)
        if token is None or token.count(".") != _TOKEN_DOTS:
            return None
        claims = await self._verifier.verify(token)
        return Identity(f"jwt:{claims['sub']}", "jwt", token_scopes(claims), claims)


class _FunctionVerifier:
    """Asks a function of the user's own, and keeps what it says as long as that asks for it."""

    def __init__(self, declared: Authorizer, clock: Clock) -> None:
        self.challenge = declared.challenge
        self._check = declared.check
        self._header = declared.header
        self._seconds = seconds(declared.cache)
        self._clock = clock
        self._kept: dict[str, tuple[float, Identity]] = {}

    async def identify(self, request: HttpRequest) -> Identity | None:
        given = request.headers.get(self._header) if self._seconds else None
        if given is None:
            return await self._ask(request)
        # Not the credentials themselves: they would stand in memory for as long.
        key = hashlib.sha256(given.encode(errors="surrogateescape")).hexdigest()
        ends, identity = self._kept.get(key, (0.0, None))
        now = self._clock.now()
        if identity is not None and now < ends:
            return identity
        identity = await self._ask(request)
        if identity is not None:
            self._keep(key, now + self._seconds, identity)
        return identity

    async def _ask(self, request: HttpRequest) -> Identity | None:
        try:
            identity = await self._check(request)
        except Unauthenticated as error:
            raise Unauthenticated(str(error), self.challenge) from None
        if identity is not None and not isinstance(identity, Identity):
            raise TypeError(f"an authorizer returned {type(identity).__name__}, and no Identity")
        return identity

    def _keep(self, key: str, ends: float, identity: Identity) -> None:
        self._kept.pop(key, None)
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = ends, identity
