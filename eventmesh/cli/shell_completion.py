"""Completions for shells.

Each completion runs in a process of its own, and imports modules only when it needs them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Final

import click
from click.shell_completion import CompletionItem

from eventmesh.model.settings import Settings, scheme_of

HTTP_SECONDS: Final = 0.5
"""Seconds to wait for a process that serves the mesh: a user has pressed Tab and waits."""

ANSWER_SECONDS: Final = 0.2
"""Seconds that processes have to answer over the broker."""

BROKER_SECONDS: Final = 1.5
"""Seconds for the same with the connections to the broker."""


def complete_path(
    _ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete files and folders."""
    return [CompletionItem(incomplete, type="file")]


def complete_function(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the functions of the mesh at the command's URL; none if it does not answer."""
    url: str | None = ctx.params.get("url")
    names = _functions(url) if url else ()
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _functions(url: str) -> Sequence[str]:
    if scheme_of(url) in ("http", "https"):
        return _functions_served(url)
    return asyncio.run(_functions_on_broker(url))


def _functions_served(url: str) -> Sequence[str]:
    """Ask with the standard library, which is imported faster."""
    from http.client import HTTPException  # noqa: PLC0415
    from urllib.request import Request, urlopen  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    from eventmesh.http.protocol import CONTROL  # noqa: PLC0415
    from eventmesh.model.errors import SettingsError  # noqa: PLC0415

    try:
        token = Settings.from_environment(os.environ).token
        asked = Request(  # noqa: S310 - of the user's own choice
            f"{url}{CONTROL}/functions",
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        with urlopen(asked, timeout=HTTP_SECONDS) as answer:  # noqa: S310 - as above
            functions = orjson.loads(answer.read())["functions"]
            return [function["name"] for function in functions]
    except (OSError, HTTPException, ValueError, LookupError, SettingsError):
        return ()  # Nothing runs there, and a completion cannot show an error.


async def _functions_on_broker(url: str) -> Sequence[str]:
    import logging  # noqa: PLC0415

    from eventmesh.client.mesh import open_mesh  # noqa: PLC0415
    from eventmesh.model.errors import EventmeshError  # noqa: PLC0415

    logging.disable()  # Log lines would appear in the line that the user types.
    try:
        async with asyncio.timeout(BROKER_SECONDS), open_mesh(url, "completion") as (_, observer):
            await asyncio.sleep(ANSWER_SECONDS)
            instances = list(observer.instances.values())
    except (TimeoutError, EventmeshError):
        return ()  # As above.
    return sorted({function["name"] for instance in instances for function in instance.functions})
