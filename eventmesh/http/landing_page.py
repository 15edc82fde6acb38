"""The page at `/` of a process under development: its functions, and where else to look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Final, TypeAlias

from eventmesh.engine.spec import FunctionSpec
from eventmesh.http.openapi.swagger_ui import DOCS, OPENAPI
from eventmesh.http.route import HttpRoute
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse
from eventmesh.http.server.routing import BuiltinRoute, PathValues

Links: TypeAlias = Callable[[], Mapping[str, str]]
"""Gives what else the page links to: URLs by what is there."""

_HTML: Final = "text/html; charset=utf-8"
_HEADERS: Final = {
    "Cache-Control": "no-store",  # the next page may be of other code
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem;
  padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #8886; padding: .4rem .8rem .4rem 0; text-align: left;
  vertical-align: top }}
:root {{ color-scheme: light dark }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{links}</p>
<table>
<tr><th>Function</th><th>Fired by</th><th>Description</th></tr>
{rows}
</table>
<p>Only <code>eventmesh dev</code> shows this page. A function with the route
<code>GET /</code> takes its place.</p>
</body>
</html>
"""


def landing_route(functions: Mapping[str, FunctionSpec], links: Links) -> BuiltinRoute:
    """The route of the page about these functions."""

    async def show(_: Request, __: PathValues) -> BytesResponse:
        return BytesResponse(200, _render(functions, links()).encode(), _HTML, _HEADERS)

    return BuiltinRoute("GET", "/", show)


def _render(functions: Mapping[str, FunctionSpec], links: Mapping[str, str]) -> str:
    services = dict.fromkeys(function.service for function in functions.values())
    all_links = {"API docs": DOCS, "OpenAPI document": OPENAPI, **links}
    return _PAGE.format(
        title=escape(", ".join(services) or "eventmesh"),
        links=" · ".join(_link(url, text) for text, url in all_links.items()),
        rows="\n".join(_row(function) for function in functions.values()),
    )


def _row(function: FunctionSpec) -> str:
    triggers = [
        _link(trigger.path, trigger.describe())
        if isinstance(trigger, HttpRoute) and "GET" in trigger.methods and not trigger.names
        else escape(trigger.describe())
        for trigger in function.triggers
    ]
    fired_by = "<br>".join(triggers) or "by name only"
    about = escape(function.description.partition("\n")[0])
    name = f"<code>{escape(function.full_name)}</code>"
    return f"<tr><td>{name}</td><td>{fired_by}</td><td>{about}</td></tr>"


def _link(url: str, text: str) -> str:
    return f'<a href="{escape(url)}">{escape(text)}</a>'
