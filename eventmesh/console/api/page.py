"""The files of the page, with headers that let it load nothing of others."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse
from eventmesh.http.server.routing import BuiltinRoute, PathValues
from eventmesh.model.errors import Problem

ROOT: Final = "/_console"

_FOLDER: Final = Path(str(files("eventmesh.console"))) / "page"
_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
_COMPRESSED: Final = (".js", ".css", ".html", ".svg", ".json", ".txt")
PAGE_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; "
        "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}

_DEPTH: Final = 6
"""Segments that a path of the page may have."""

NO_PAGES: Final = ("api", "app", "login", "vendor")
"""Folders below which an unknown path is no screen of the page."""


def page_routes() -> Iterator[BuiltinRoute]:
    """Yield the routes of all files; any other path is a screen, which `index.html` shows."""
    for file in sorted(_FOLDER.rglob("*")):
        if file.is_file() and file.suffix in _TYPES:
            path = f"{ROOT}/{file.relative_to(_FOLDER).as_posix()}"
            yield BuiltinRoute("GET", path, _File(file).answer)
    index = _File(_FOLDER / "index.html")
    for path in (ROOT, f"{ROOT}/"):
        yield BuiltinRoute("GET", path, index.answer)
    for depth in range(1, _DEPTH + 1):
        names = "".join(f"/{{p{number}}}" for number in range(depth))
        yield BuiltinRoute("GET", f"{ROOT}{names}", index.answer_screen)


class _File:
    """One file, read and compressed when it is asked for first or has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = (0, b"", b"")

    async def answer_screen(self, request: Request, path: PathValues) -> BytesResponse:
        if path["p0"] in NO_PAGES:
            raise Problem(404, "the console has nothing there")
        return await self.answer(request, path)

    async def answer(self, request: Request, _: PathValues) -> BytesResponse:
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._read[0]:
                body = self._path.read_bytes()
                packed = gzip.compress(body, 9, mtime=0) if self._is_text else b""
                self._read = changed, body, packed
        except OSError:
            raise Problem(404, "this installation has no page of the console") from None
        kind = _TYPES[self._path.suffix]
        if self._read[2] and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers = {**PAGE_HEADERS, "Content-Encoding": "gzip"}
            return BytesResponse(200, self._read[2], kind, headers)
        return BytesResponse(200, self._read[1], kind, PAGE_HEADERS)

    @property
    def _is_text(self) -> bool:
        return self._path.suffix in _COMPRESSED
