"""Databases of stores, as tests look into them."""

from contextlib import asynccontextmanager

from eventmesh.store.database import Database
from eventmesh.store.urls import read_store_url


@asynccontextmanager
async def open_database(url):
    """The database at the URL of a store, as services open it."""
    database = Database(read_store_url(url))
    try:
        yield database
    finally:
        await database.close()
