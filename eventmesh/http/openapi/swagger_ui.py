"""The documentation page: Swagger UI from an installed package, without internet access."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from eventmesh.engine.codecs.json import encode
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse
from eventmesh.http.server.routing import BuiltinRoute, Endpoint, PathValues
from eventmesh.model.message import JSON

OPENAPI: Final = "/openapi.json"
DOCS: Final = "/docs"

_PACKAGE: Final = "offapi"
_FILES: Final = {
    f"{DOCS}/swagger-ui.js": ("swagger_bundle.js", "text/javascript; charset=utf-8"),
    f"{DOCS}/swagger-ui.css": ("swagger_style.css", "text/css; charset=utf-8"),
}
"""By path: a file of the package, and its type."""

_START: Final = f"{DOCS}/start.js"
_SCRIPT: Final = f"""\
SwaggerUIBundle({{url: "{OPENAPI}", dom_id: "#docs", deepLinking: true, validatorUrl: null}});
"""
_PAGE: Final = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API documentation</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{DOCS}/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="{DOCS}/swagger-ui.js"></script>
<script src="{_START}"></script>
</body>
</html>
"""
_PAGE_HEADERS: Final = {
    # Swagger UI uses inline styles, and icons in data URLs.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_FILE_HEADERS: Final = {"Cache-Control": "max-age=3600"}


def docs_routes(document: Callable[[], dict[str, Any]]) -> Sequence[BuiltinRoute]:
    """The routes of the document and its page. The document is made at the first request."""
    encoded = cache(lambda: encode(document()))

    async def show_document(_: Request, __: PathValues) -> BytesResponse:
        return BytesResponse(200, encoded(), JSON)

    endpoints = {
        OPENAPI: show_document,
        DOCS: _fixed(_PAGE, "text/html; charset=utf-8"),
        _START: _fixed(_SCRIPT, "text/javascript; charset=utf-8"),
        **{path: _file(*file) for path, file in _FILES.items()},
    }
    return [BuiltinRoute("GET", path, endpoint) for path, endpoint in endpoints.items()]


def _fixed(text: str, content_type: str) -> Endpoint:
    body = text.encode()

    async def answer(_: Request, __: PathValues) -> BytesResponse:
        return BytesResponse(200, body, content_type, _PAGE_HEADERS)

    return answer


def _file(name: str, content_type: str) -> Endpoint:
    async def answer(_: Request, __: PathValues) -> BytesResponse:
        body = await asyncio.to_thread(_read, name)
        return BytesResponse(200, body, content_type, _FILE_HEADERS)

    return answer


@cache
def _read(name: str) -> bytes:
    # Importing the package would load all its files, 9 MB, and fill its templates.
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{_PACKAGE} is not installed: install eventmesh again")
    return Path(found.origin).with_name(name).read_bytes()
