"""The PostgreSQL of a run: a private one, unless the environment names another."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from typing import Any, Final

DATABASE: Final = "EVENTMESH_BENCH_POSTGRES"

SETTINGS: Final = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB"}
"""A commit is on the disk, which the servers of the tests do without."""


@contextmanager
def databases() -> Generator[str]:
    """Make an empty database in a server of its own, and drop it in the end; gives its URL."""
    with one_server() as database, database() as url:
        yield url


@contextmanager
def one_server() -> Generator[Callable[[], AbstractContextManager[str]]]:
    """Give what makes databases, as `databases` does, in one server: started when it is needed."""
    # As `benchmarks.broker` has them: the tests know how to run a server of their own.
    server = import_module("postgres_server.server")
    with ExitStack() as stack:
        named = os.environ.get(DATABASE)
        running: list[Any] = [server.Databases(named)] if named else []

        def start() -> Any:
            if not running:
                server.SETTINGS.update(SETTINGS)
                one = import_module("postgres_server").new_server()
                stack.callback(one.remove)
                one.launch()
                running.append(one)
            return running[0]

        @contextmanager
        def database() -> Generator[str]:
            one = start()
            url = one.new_database()
            try:
                yield url
            finally:
                one.drop_database(url)

        yield database
