"""What an operator has to change where a database is there, and lets nobody in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy.exc import DBAPIError

from eventmesh.model.errors import SettingsError, StoreUnavailable
from eventmesh.model.settings import variable
from eventmesh.store.database import Database, is_session_lost

_POOLER_MODE: Final = (
    "a pooler lends its connections for single transactions: add ?pgbouncer=true to the URL"
)

_NO_RIGHTS: Final = (
    "this user may not change its tables; run 'eventmesh store migrate' once as one who may, let "
    "this user read and write the tables eventmesh_*, and set "
    f"{variable('store_migrate')}=never"
)

_BY_ERROR: Final = (
    (asyncpg.InsufficientPrivilegeError, _NO_RIGHTS),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        f"check the user and the password in {variable('store')}",
    ),
    (asyncpg.InvalidCatalogNameError, "create the database; only its tables are made"),
)

_BY_TEXT_OF_POOLER: Final = (
    (
        "unsupported startup parameter",
        (
            "pgbouncer refuses this option: leave it out of the URL, and set it for the user with "
            "ALTER ROLE … SET"
        ),
    ),
    (
        "statement pooling mode",
        "a store has transactions: set pool_mode = transaction, or session, in pgbouncer",
    ),
    ("authentication failed", "check the user and the password, and those that pgbouncer knows"),
    ("no such user", "check the user, and those that pgbouncer knows"),
    ("no such database", "name the database in pgbouncer's [databases]"),
    ('" does not exist', "create the database; only its tables are made"),
)
"""What pgbouncer says where it lets nobody in: all with codes of a lost connection."""


@contextmanager
def explained(database: Database) -> Generator[None]:
    """Raise SettingsError, with advice, for what an operator has to change."""
    try:
        yield
    except (DBAPIError, asyncpg.PostgresError, StoreUnavailable) as error:
        cause = _find_cause(error)
        advice = _find_advice(database, cause)
        if advice is None:
            raise
        raise SettingsError(
            f"the store {database.url.shown} cannot be used ({cause}): {advice}"
        ) from error


def _find_cause(error: BaseException) -> BaseException:
    """Return the driver's error."""
    if isinstance(error, StoreUnavailable):
        error = error.__cause__ or error
    original = error.orig if isinstance(error, DBAPIError) else error
    return (original and original.__cause__) or original or error


def _find_advice(database: Database, cause: BaseException) -> str | None:
    if is_session_lost(cause):
        return _POOLER_MODE
    if isinstance(cause, asyncpg.PostgresConnectionError):
        return next((what for text, what in _BY_TEXT_OF_POOLER if text in str(cause)), None)
    if "readonly database" in str(cause):
        return (
            f"let the user of this process write {database.url.file}, and its folder, in which "
            "SQLite keeps two more files while it is used"
        )
    if "unable to open database file" in str(cause):
        return "create its folder, and let the user of this process write there"
    return next((advice for kind, advice in _BY_ERROR if isinstance(cause, kind)), None)
