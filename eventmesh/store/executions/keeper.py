"""Keeps the executions of durable functions in the database of their service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Row, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.abc import Transport
from eventmesh.aio.clock import Clock
from eventmesh.durable.errors import ExecutionNameTaken, ExecutionNotFound
from eventmesh.durable.event import Event
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import (
    Change,
    ExecutionFilter,
    Page,
    Watch,
    list_marker,
    read_list_marker,
)
from eventmesh.durable.operation import Operation
from eventmesh.durable.subscription import Subscription
from eventmesh.durable.transition import Transition
from eventmesh.store.database import Database
from eventmesh.store.executions.revisions import list_revisions, note_revision
from eventmesh.store.executions.subscriptions import (
    find_subscribed,
    list_shapes,
    store_subscriptions,
)
from eventmesh.store.executions.writing import execution_columns, write_changes
from eventmesh.store.outbox.messages import Capture, build_rows, store_rows
from eventmesh.store.tables import events, executions, operations

_EXECUTION: Final = TypeAdapter(Execution)
_OPERATION: Final = TypeAdapter(Operation)
_EVENT: Final = TypeAdapter(Event)


class ExecutionStore:
    """The executions of a service. See `eventmesh.durable.keeper.Keeper`."""

    def __init__(
        self,
        database: Database,
        service: str,
        clock: Clock,
        transport: Transport,
        *,
        on_commit: Callable[[], object],
        watch: Watch | None = None,
    ) -> None:
        """`service` may be "", for all. `on_commit` is called when messages have been committed.

        `watch` gets each change that is made.
        """
        self._database = database
        self._service = service
        self._clock = clock
        self._transport = transport
        self._on_commit = on_commit
        self._watch = watch or _watch_nothing

    @asynccontextmanager
    async def create(self, execution: Execution) -> AsyncGenerator[Change | None]:
        async with self._begin() as (connection, capture):
            if not await self._insert(connection, execution):
                yield None
                return
            change = Change(Transition(execution, self._clock.now()), capture)
            yield change
            committed = self._watch(change)
            await self._save(connection, change, {})
            await self._store_messages(connection, capture, execution)
        committed()

    @asynccontextmanager
    async def change(
        self, id: str, operations: Collection[str] | None = (), *, since: int | None = None
    ) -> AsyncGenerator[Change]:
        async with self._begin() as (connection, capture):
            found = await connection.execute(
                select(executions.c.state).where(executions.c.id == id).with_for_update()
            )
            execution = _read_execution(id, found.scalar_one_or_none())
            places = await _load_operations(connection, execution, operations, since)
            change = Change(Transition(execution, self._clock.now()), capture)
            yield change
            committed = self._watch(change)
            await self._save(connection, change, places)
            await self._store_messages(connection, capture, execution)
        committed()

    async def read(self, id: str, operations: Collection[str] = ()) -> Execution:
        query = select(executions.c.state).where(executions.c.id == id)
        async with self._database.begin() as connection:
            state = (await connection.execute(query)).scalar_one_or_none()
            execution = _read_execution(id, state)
            if operations:
                execution.operations = await _read_operations(connection, id, operations)
        return execution

    async def find(self, function: str, name: str) -> Execution | None:
        query = select(executions.c.id, executions.c.state).where(
            executions.c.function == function, executions.c.name == name
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _read_execution(row.id, row.state)

    async def read_operations(self, id: str, page: Page) -> tuple[Sequence[Operation], str]:
        after = _number(page.after)
        query = (
            select(operations.c.place, operations.c.state)
            .where(operations.c.execution == id, operations.c.place > after)
            .order_by(operations.c.place)
            .limit(page.size)
        )
        rows = await self._rows(query)
        found = [_OPERATION.validate_json(row.state) for row in rows]
        return found, str(rows[-1].place) if len(rows) == page.size else ""

    async def read_history(
        self, id: str, page: Page, *, newest_first: bool = False
    ) -> tuple[Sequence[Event], str]:
        query = select(events.c.id, events.c.state).where(events.c.execution == id)
        if page.after:
            after = _number(page.after)
            query = query.where(events.c.id < after if newest_first else events.c.id > after)
        order = events.c.id.desc() if newest_first else events.c.id
        rows = await self._rows(query.order_by(order).limit(page.size))
        found = [_EVENT.validate_json(row.state) for row in rows]
        return found, str(rows[-1].id) if len(rows) == page.size else ""

    async def list(self, which: ExecutionFilter, page: Page) -> tuple[Sequence[Execution], str]:
        query = select(executions.c.id, executions.c.started, executions.c.state)
        if self._service:
            query = query.where(executions.c.service == self._service)
        query = query.where(*_conditions(which, page))
        key = (executions.c.started, executions.c.id)
        order = [column.desc() for column in key] if which.newest_first else list(key)
        rows = await self._rows(query.order_by(*order).limit(page.size))
        found = [_read_execution(row.id, row.state) for row in rows]
        return found, list_marker(rows[-1].started, rows[-1].id) if len(rows) == page.size else ""

    async def list_subscriptions(self, function: str) -> Sequence[str]:
        async with self._database.begin() as connection:
            return await list_shapes(connection, function)

    async def find_subscribed(
        self, function: str, wanted: Sequence[Subscription], event: str, most: int
    ) -> Mapping[str, Sequence[str]]:
        async with self._database.begin() as connection:
            return await find_subscribed(connection, function, wanted, event, most)

    async def note_revision(self, function: str, revision: str, now: float) -> None:
        async with self._database.begin() as connection:
            await note_revision(connection, function, revision, now)

    async def list_revisions(self, function: str, since: float) -> Sequence[str]:
        async with self._database.begin() as connection:
            return await list_revisions(connection, function, since)

    async def list_overdue(self, function: str, before: float, most: int) -> Sequence[str]:
        query = (
            select(executions.c.id)
            .where(
                executions.c.function == function,
                executions.c.ended.is_(None),
                executions.c.wake < before,
            )
            .order_by(executions.c.wake)
            .limit(most)
        )
        async with self._database.begin() as connection:
            return list((await connection.execute(query)).scalars())

    async def drop(self, id: str) -> bool:
        ended = executions.c.ended.is_not(None)
        async with self._database.begin() as connection:
            dropped = await connection.execute(
                delete(executions).where(executions.c.id == id, ended).returning(executions.c.id)
            )
            if dropped.one_or_none() is not None:
                return True
        await self.read(id)
        return False

    async def drop_ended(self, function: str, before: float, most: int) -> int:
        old = (
            select(executions.c.id)
            .where(executions.c.function == function, executions.c.ended < before)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        async with self._database.begin() as connection:
            ids = list((await connection.execute(old)).scalars())
            if ids:
                await connection.execute(delete(executions).where(executions.c.id.in_(ids)))
        return len(ids)

    @asynccontextmanager
    async def _begin(self) -> AsyncGenerator[tuple[AsyncConnection, Capture]]:
        capture = Capture(self._transport)
        async with self._database.begin() as connection:
            yield connection, capture
        if capture.kept:
            self._on_commit()

    async def _insert(self, connection: AsyncConnection, execution: Execution) -> bool:
        """Insert an execution; return False if there is one of its id."""
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        row = {
            "id": execution.id,
            "service": execution.service,
            "function": execution.function,
            "name": execution.name,
            "started": execution.started,
            **execution_columns(execution),
        }
        inserted = await connection.execute(
            dialect.insert(executions)
            .values(row)
            .on_conflict_do_nothing()
            .returning(executions.c.id)
        )
        if inserted.one_or_none() is not None:
            return True
        known = await connection.execute(
            select(executions.c.id).where(executions.c.id == execution.id)
        )
        if known.one_or_none() is None:
            raise ExecutionNameTaken(
                f"{execution.function} has an execution with the name {execution.name!r}: take "
                "another, or ask for that one"
            )
        return False

    async def _save(
        self, connection: AsyncConnection, change: Change, places: Mapping[str, int]
    ) -> None:
        changed = change.transition.changes.operations.values()
        await write_changes(connection, change, places)
        await store_subscriptions(connection, change.execution, changed, places)

    async def _store_messages(
        self, connection: AsyncConnection, capture: Capture, execution: Execution
    ) -> None:
        rows = build_rows(capture.kept, execution.service, execution.id, self._clock.now())
        if rows:
            await store_rows(connection, rows)

    async def _rows(self, query: Any) -> Sequence[Row[Any]]:
        async with self._database.begin() as connection:
            return (await connection.execute(query)).all()


async def _load_operations(
    connection: AsyncConnection,
    execution: Execution,
    wanted: Collection[str] | None,
    since: int | None,
) -> dict[str, int]:
    """Load operations into the execution; return their places by id."""
    query = select(operations).where(operations.c.execution == execution.id)
    if wanted is not None:
        query = query.where(
            or_(
                operations.c.open,
                operations.c.changed > (execution.begun if since is None else since),
                operations.c.id.in_(wanted),
            )
        )
    rows = (await connection.execute(query.order_by(operations.c.place))).all()
    execution.operations = {row.id: _OPERATION.validate_json(row.state) for row in rows}
    return {row.id: row.place for row in rows}


async def _read_operations(
    connection: AsyncConnection, execution: str, ids: Collection[str]
) -> dict[str, Operation]:
    """Return operations of an execution by their ids, as far as it has them."""
    query = select(operations.c.id, operations.c.state).where(
        operations.c.execution == execution, operations.c.id.in_(ids)
    )
    rows = (await connection.execute(query)).all()
    return {row.id: _OPERATION.validate_json(row.state) for row in rows}


def _read_execution(id: str, state: str | None) -> Execution:
    if state is None:
        raise ExecutionNotFound(
            f"there is no execution {id!r}: check its id; those that ended long ago are not kept"
        )
    return _EXECUTION.validate_json(state)


def _conditions(which: ExecutionFilter, page: Page) -> list[Any]:
    conditions: list[Any] = []
    if which.function:
        conditions.append(executions.c.function == which.function)
    if which.name:
        conditions.append(executions.c.name == which.name)
    if which.statuses:
        conditions.append(executions.c.status.in_(which.statuses))
    if which.started_after is not None:
        conditions.append(executions.c.started > which.started_after)
    if which.started_before is not None:
        conditions.append(executions.c.started < which.started_before)
    if page.after:
        started, id = read_list_marker(page.after)
        at, key = executions.c.started, executions.c.id
        behind = or_(at < started, (at == started) & (key < id))
        ahead = or_(at > started, (at == started) & (key > id))
        conditions.append(behind if which.newest_first else ahead)
    return conditions


def _number(marker: str) -> int:
    try:
        return int(marker or 0)
    except ValueError:
        raise ExecutionNotFound("the marker is none of a list of operations or events") from None


def _watch_nothing(_: Change) -> Callable[[], object]:
    return _do_nothing


def _do_nothing() -> None: ...
