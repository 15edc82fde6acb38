"""Brings the tables of a store up to date, one process at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.engine.store import OwnTables
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import StoreMigrate, variable
from eventmesh.model.value import value
from eventmesh.store.advice import explained
from eventmesh.store.database import Database

VERSION_TABLE: Final = "eventmesh_version"

_LOCK: Final = 0x657665_6E746D
"""The advisory lock under which PostgreSQL's tables are changed."""

_REFUSED: Final = text(
    """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
      AND starts_with(relname, 'eventmesh_') AND relname <> :version
      AND NOT (
        SELECT bool_and(has_table_privilege(pg_class.oid, wanted))
        FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
      )
    ORDER BY relname
    """
).bindparams(version=VERSION_TABLE)
"""Tables that this user may not use. Who made them may."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


@value
class SchemaStatus:
    """The version of a store's tables, "" where there are none, and the one that is wanted.

    `known` is False for tables of a newer eventmesh.
    """

    current: str
    wanted: str
    known: bool

    @property
    def is_current(self) -> bool:
        """Whether nothing is to be done."""
        return self.current == self.wanted


async def read_status(database: Database) -> SchemaStatus:
    """Return the version of the tables. Raises StoreUnavailable and SettingsError."""
    with explained(database):
        async with database.begin() as connection:
            return await connection.run_sync(_read_status)


async def migrate(database: Database) -> SchemaStatus:
    """Bring the tables up to date, and return their version before.

    Processes that do so at once wait for each other. Raises StoreUnavailable, and SettingsError
    for a user who may not, and for tables of a newer eventmesh.
    """
    with explained(database):
        async with database.begin() as connection:
            await _lock(database, connection)
            before = await connection.run_sync(_read_status)
            check_known(database, before)
            if not before.is_current:
                await connection.run_sync(_upgrade)
    return before


async def create_tables(database: Database, tables: Sequence[OwnTables]) -> None:
    """Create those of a service's own tables that are missing. Raises as `migrate` does."""
    with explained(database):
        async with database.begin() as connection:
            await _lock(database, connection)
            for each in tables:
                await connection.run_sync(each.create_all)


async def _lock(database: Database, connection: AsyncConnection) -> None:
    """Wait until no other process changes tables; until the end of the transaction none does."""
    if database.is_postgresql:
        # Of the transaction and not of the session: a pooler may share that.
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


async def prepare_tables(database: Database, how: StoreMigrate) -> None:
    """Make sure that the tables are as this version needs them; `how` says whether to change them.

    Raises SettingsError where they are not, and StoreUnavailable.
    """
    status = await read_status(database)
    check_known(database, status)
    if status.is_current:
        await _check_rights(database)
        return
    if how == "never":
        raise SettingsError(
            f"the tables of the store {database.url.shown} are of version "
            f"{status.current or 'none'}, and {status.wanted} is needed: run 'eventmesh store "
            f"migrate', or leave {variable('store_migrate')} out"
        )
    await migrate(database)


async def _check_rights(database: Database) -> None:
    """Raise SettingsError for a user who may not write the tables."""
    if not database.is_postgresql:
        return
    async with database.begin() as connection:
        refused = list((await connection.execute(_REFUSED)).scalars())
        user = (await connection.execute(text("SELECT current_user"))).scalar_one()
    if refused:
        raise SettingsError(
            f"the store {database.url.shown} cannot be used: the user {user!r} may not read and "
            f"write {', '.join(refused)}; as their owner run GRANT SELECT, INSERT, UPDATE, DELETE "
            f'ON {", ".join(refused)} TO "{user}"'
        )


def check_known(database: Database, status: SchemaStatus) -> None:
    """Raise SettingsError for tables of a newer eventmesh."""
    if not status.known:
        raise SettingsError(
            f"the tables of the store {database.url.shown} are of version {status.current}, which "
            f"this eventmesh does not know (it knows {status.wanted}): install the eventmesh that "
            "made them, or a newer one"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _read_status(connection: Connection) -> SchemaStatus:
    script = ScriptDirectory.from_config(_config())
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    current = context.get_current_revision() or ""
    known = {revision.revision for revision in script.walk_revisions()}
    return SchemaStatus(current, script.get_current_head() or "", not current or current in known)


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
