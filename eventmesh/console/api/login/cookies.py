"""The cookies of the console (RFC 6265bis), for the one origin at which it is reached."""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import urlsplit

from eventmesh.http.server.request import Request
from eventmesh.model.value import value

_HTTPS: Final = "https://"


@value
class Cookie:
    """A cookie that no script reads.

    Over HTTPS its name begins with `__Host-`: browsers then take it from this host alone, over TLS,
    so that no other host of the domain can set it. On this machine, over HTTP, its name ends with
    the port: cookies are for all ports of a host.
    """

    name: str
    secure: bool
    same_site: Literal["Lax", "Strict"]

    def read(self, request: Request) -> str:
        """Its text in a request; "" where it is missing, or there twice: one is not ours then."""
        found = [
            text.strip()
            for line in request.headers.getall("Cookie", ())
            for pair in line.split(";")
            for name, separator, text in [pair.partition("=")]
            if separator and name.strip() == self.name
        ]
        return found[0] if len(found) == 1 else ""

    def set(self, text: str, seconds: int) -> str:
        """The header Set-Cookie that sets it for so many seconds."""
        secure = "; Secure" if self.secure else ""
        return (
            f"{self.name}={text}; Path=/; Max-Age={seconds}{secure}; HttpOnly; "
            f"SameSite={self.same_site}"
        )

    def clear(self) -> str:
        """The header Set-Cookie that takes it away."""
        return self.set("", 0)


def build_cookie(origin: str, purpose: str, same_site: Literal["Lax", "Strict"]) -> Cookie:
    """Build the cookie for a purpose at an origin."""
    if origin.startswith(_HTTPS):
        return Cookie(f"__Host-eventmesh-{purpose}", secure=True, same_site=same_site)
    port = urlsplit(origin).port or 80
    return Cookie(f"eventmesh-{purpose}-{port}", secure=False, same_site=same_site)
