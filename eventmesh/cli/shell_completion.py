"""What shells are told when somebody presses Tab.

Each is run in a process of its own, and imports what it needs when it needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem

HTTP_SECONDS: Final = 0.5
"""How long somebody who presses Tab may wait for a process that serves the mesh."""

ANSWER_SECONDS: Final = 0.2
"""How long processes of a mesh have to answer when its broker is asked."""

BROKER_SECONDS: Final = 1.5
"""The same with the time that the broker takes for the connections."""


def complete_path(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files and folders: the shell knows them."""
    return [CompletionItem(incomplete, type="file")]


def complete_function(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The functions of the mesh at the command's URL; none where that does not answer."""
    url: str | None = ctx.params.get("url")
    names = _functions(url) if url else ()
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _functions(url: str) -> Sequence[str]:
    if urlsplit(url).scheme in ("http", "https"):
        return _functions_served(url)
    return asyncio.run(_functions_on_broker(url))


def _functions_served(url: str) -> Sequence[str]:
    """Asked for with the standard library: it is loaded sooner."""
    from http.client import HTTPException  # noqa: PLC0415
    from urllib.request import urlopen  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    from eventmesh.http.protocol import CONTROL  # noqa: PLC0415

    try:
        with urlopen(f"{url}{CONTROL}/functions", timeout=HTTP_SECONDS) as answer:  # noqa: S310
            functions = orjson.loads(answer.read())["functions"]
            return [function["name"] for function in functions]
    except (OSError, HTTPException, ValueError, LookupError):
        return ()  # Nothing runs there: a shell has nobody to tell.


async def _functions_on_broker(url: str) -> Sequence[str]:
    import logging  # noqa: PLC0415

    from eventmesh.client.mesh import open_mesh  # noqa: PLC0415
    from eventmesh.model.errors import EventmeshError  # noqa: PLC0415

    logging.disable()  # What is written beside the names would be in the middle of the line typed.
    try:
        async with asyncio.timeout(BROKER_SECONDS), open_mesh(url, "completion") as (_, observer):
            await asyncio.sleep(ANSWER_SECONDS)
            instances = list(observer.instances.values())
    except (TimeoutError, EventmeshError):
        return ()  # As above.
    return sorted({one["name"] for instance in instances for one in instance.functions})
