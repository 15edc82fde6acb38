"""Runs what an operator asks of a store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings, variable

if TYPE_CHECKING:
    from eventmesh.store.admin import StoreAdmin

T = TypeVar("T")

store_option = click.option(
    "--store",
    metavar="URL",
    help="Where the store is, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.  "
    "[env var: EVENTMESH_STORE]",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; times are seconds since the epoch."
)


def with_store(store: str | None, use: Callable[[StoreAdmin], Awaitable[T]]) -> T:
    """Return what `use` returns for the store at a URL, or at that of the settings.

    Raises SettingsError, and StoreUnavailable.
    """
    given = {} if store is None else {variable("store"): store}
    url = Settings.from_environment({**os.environ, **given}).store
    if not url:
        raise SettingsError(f"which store? Name it with --store URL or {variable('store')}")
    from eventmesh.store.urls import read_store_url  # noqa: PLC0415 - not for --help

    read_store_url(url)  # Before what needs its libraries.
    from eventmesh.store.admin import open_admin  # noqa: PLC0415

    async def run() -> T:
        async with open_admin(url) as admin:
            return await use(admin)

    return asyncio.run(run())
