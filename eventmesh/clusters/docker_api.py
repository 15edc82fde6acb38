"""The API of a Docker engine (https://docs.docker.com/reference/api/engine/), over its socket."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import (
    BaseConnector,
    ClientError,
    ClientSession,
    ClientTimeout,
    TCPConnector,
    UnixConnector,
)

from eventmesh.clusters.abc import ClusterError, ClusterUnavailable
from eventmesh.model.errors import SettingsError

ANSWER_SECONDS: Final = 15.0
"""Seconds that the engine has for an answer that waits for nothing."""

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of the largest answer that is read."""

DEFAULT_HOST: Final = "unix:///var/run/docker.sock"

_NOT_FOUND: Final = 404
_CONFLICT: Final = (304, 409)


class NotFound(ClusterError):
    """The engine does not have it."""


class DockerApi:
    """Requests to one engine, at the version of the API that it speaks itself."""

    def __init__(self, session: ClientSession, base: str, where: str) -> None:
        self._session = session
        self._base = base
        self._where = where

    async def get(self, path: str, **query: Any) -> Any:
        """Return what is at a path; filters are given as values."""
        return await self._ask("GET", path, query)

    async def post(
        self, path: str, body: Any = None, seconds: float = ANSWER_SECONDS, **query: Any
    ) -> Any:
        return await self._ask("POST", path, query, body, seconds)

    async def delete(self, path: str, **query: Any) -> None:
        await self._ask("DELETE", path, query)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        texts = {
            name: given if isinstance(given, str) else orjson.dumps(given).decode()
            for name, given in query.items()
        }
        try:
            async with self._session.request(
                method,
                self._base + path,
                params=texts,
                data=None if body is None else orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                timeout=ClientTimeout(seconds),
            ) as answer:
                content = await answer.content.read(MAX_ANSWER)
                while not answer.content.at_eof():
                    if len(content) >= MAX_ANSWER:
                        raise ClusterError(f"{path}: the answer of the engine is too large")
                    content += await answer.content.read(MAX_ANSWER - len(content))
                status = answer.status
        except (ClientError, TimeoutError, OSError) as error:
            raise ClusterUnavailable(
                f"the container engine at {self._where} does not answer "
                f"({str(error) or type(error).__name__}): start it, or say in DOCKER_HOST where it "
                "is"
            ) from None
        return _read(method, path, status, content)


def _read(method: str, path: str, status: int, content: bytes) -> Any:
    try:
        parsed = orjson.loads(content) if content else None
    except orjson.JSONDecodeError:
        parsed = None
    if status < 300 or status == _CONFLICT[0]:  # noqa: PLR2004 - 304: it is so already
        return parsed
    said = _member(parsed, "message")
    kind = NotFound if status == _NOT_FOUND else ClusterError
    raise kind(f"{method} {path}: the engine answers {status}, {said or 'without a reason'}")


def _member(answer: Any, name: str) -> Any:
    """Return a member of an answer; None if that is no object, or has none of that name."""
    match answer:
        case {**members}:
            return members.get(name)
        case _:
            return None


@asynccontextmanager
async def open_docker(environ: Mapping[str, str] | None = None) -> AsyncGenerator[DockerApi]:
    """Open the engine that DOCKER_HOST names, the local one without it.

    With DOCKER_TLS_VERIFY the certificates are in DOCKER_CERT_PATH, as for docker itself. Raises
    SettingsError for a place that cannot be asked from here, and ClusterUnavailable.
    """
    environ = os.environ if environ is None else environ
    host = environ.get("DOCKER_HOST") or DEFAULT_HOST
    connector, base = _connect(host, environ)
    async with ClientSession(connector=connector) as session:
        plain = DockerApi(session, base, host)
        version = await plain.get("/version")
        spoken = _member(version, "ApiVersion")
        if not isinstance(spoken, str) or not re.fullmatch(r"\d+\.\d+", spoken):
            raise ClusterError(f"what answers at {host} is no container engine")
        yield DockerApi(session, f"{base}/v{spoken}", host)


def _connect(host: str, environ: Mapping[str, str]) -> tuple[BaseConnector, str]:
    scheme, _, place = host.partition("://")
    if scheme == "unix" and place.startswith("/"):
        return UnixConnector(place), "http://docker"
    if scheme != "tcp" or not place:
        raise SettingsError(
            f"DOCKER_HOST={host!r} cannot be asked from here: write unix:///PATH or tcp://HOST:PORT"
        )
    if not environ.get("DOCKER_TLS_VERIFY"):
        return TCPConnector(), f"http://{place}"
    folder = Path(environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    try:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    except OSError as error:
        raise SettingsError(
            f"the certificates in DOCKER_CERT_PATH={str(folder)!r} cannot be used ({error})"
        ) from None
    return TCPConnector(ssl=context), f"https://{place}"
