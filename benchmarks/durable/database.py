"""The PostgreSQL of a run: a private one, unless the environment names another."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

DATABASE: Final = "EVENTMESH_BENCH_POSTGRES"

SETTINGS: Final = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB"}
"""A commit is on the disk, which the servers of the tests do without."""


@contextmanager
def databases() -> Generator[str]:
    """Make an empty database, and drop it in the end; gives its URL."""
    # As `benchmarks.broker` has them: the tests know how to run a server of their own.
    server = import_module("postgres_server.server")
    url = os.environ.get(DATABASE)
    if url:
        one = server.Databases(url)
    else:
        server.SETTINGS.update(SETTINGS)
        one = import_module("postgres_server").new_server()
        one.launch()
    try:
        made = one.new_database()
        yield made
        one.drop_database(made)
    finally:
        if not url:
            one.remove()
