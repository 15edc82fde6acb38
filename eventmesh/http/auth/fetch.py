"""Asks the server of an issuer for a document: within a time and a size, following nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout

from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.model.access.addresses import is_loopback
from eventmesh.model.errors import SettingsError
from eventmesh.model.message import NO_HEADERS
from eventmesh.model.value import value

FETCH_SECONDS: Final = 5.0
"""Seconds for one attempt."""

MAX_BYTES: Final = 256 * 1024
"""The most bytes of a document that are read."""

FETCH_ERRORS: Final = (ClientError, OSError, TimeoutError, ValueError, RecursionError)
"""What fetching a document, and reading it, raises."""

_SUCCESS: Final = 200


@value
class Fetched:
    """The answer of a server: its status and its body."""

    status: int
    body: bytes

    def check_success(self) -> None:
        """Raise ValueError for an answer that is no success."""
        if self.status != _SUCCESS:
            raise ValueError(f"the answer is {self.status}")


async def fetch(
    clock: Clock,
    url: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Fetched:
    """GET a URL, or POST a form to it. Raises what `FETCH_ERRORS` has.

    A redirect is an answer like any other: where it leads to, nobody has checked.
    """
    received = bytearray()
    with TimeLimit(clock, FETCH_SECONDS):
        async with (
            ClientSession(timeout=ClientTimeout(total=None)) as session,
            session.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers={"Accept": "application/json", **headers},
                allow_redirects=False,
            ) as response,
        ):
            async for chunk in response.content.iter_any():
                received += chunk
                if len(received) > MAX_BYTES:
                    raise ValueError(f"there are more than {MAX_BYTES:,} bytes")
            return Fetched(response.status, bytes(received))


def check_url(url: str, refusal: str) -> str:
    """Return a URL that is HTTPS or of this machine. Raises SettingsError.

    `refusal` is how its message begins; the URL follows.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = None, ""
    secure = parts is not None and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    )
    if parts is None or not host or not secure or "@" in parts.netloc:
        raise SettingsError(
            f"{refusal} {url.rpartition('@')[2]!r}: write an https:// URL "
            "without a password, or an http:// one of this machine"
        )
    return url
