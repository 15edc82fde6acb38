"""The store of one service: transactions with an outbox, and marks of what is done."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, AsyncTransaction

from eventmesh.abc import Transport
from eventmesh.aio.clock import Clock
from eventmesh.durable.keeper import Watch
from eventmesh.model.errors import AlreadyDone, DeclarationError, PartialFailure
from eventmesh.model.invocation import ASYNC, Batch, Invocation
from eventmesh.model.retry import Retry
from eventmesh.model.value import value
from eventmesh.store.database import Database
from eventmesh.store.executions.keeper import ExecutionStore
from eventmesh.store.outbox.messages import Capture, build_rows, key_text, store_rows
from eventmesh.store.tables import inbox

KEPT_LONGER: Final = 86_400.0
"""Seconds that a mark is kept beyond the time in which its invocation may be delivered again."""

_log: Final = logging.getLogger(__name__)

MAX_ORDER_KEY: Final = 1_000
"""Characters of a transaction's `key`."""


@value
class Opened:
    """A transaction of a run: its session, and the transport that keeps what it sends."""

    session: AsyncSession
    transport: Transport


Record: TypeAlias = Callable[[AsyncConnection], Awaitable[bool]]


async def _nothing_else(_: AsyncConnection) -> bool:
    return True


class _Pending:
    """A transaction that is committed with the answer. See `model.invocation.claim.Pending`."""

    def __init__(self, commit: Callable[[Record], Awaitable[bool]], stack: AsyncExitStack) -> None:
        self._commit = commit
        self._stack = stack

    async def commit(self, record: Record) -> bool:
        async with self._stack:
            return await self._commit(record)

    async def roll_back(self) -> None:
        try:
            await self._stack.aclose()
        except (SQLAlchemyError, OSError) as error:
            _log.debug("a transaction ended with its connection", exc_info=error)


class ServiceStore:
    """The database of a service in this process. See `eventmesh.engine.store.ServiceStore`."""

    def __init__(
        self,
        database: Database,
        service: str,
        retries: Mapping[str, Retry],
        clock: Clock,
        *,
        trace: Callable[[Transport], Transport],
        on_commit: Callable[[], object],
        watch: Watch | None = None,
    ) -> None:
        """`retries` is by function. `trace` wraps what carries messages, so that they are traced.

        `on_commit` is called when messages have been committed. `watch` gets each change of an
        execution.
        """
        self.database = database
        self.service = service
        self._retries = retries
        self._clock = clock
        self._trace = trace
        self._on_commit = on_commit
        self._watch = watch

    @asynccontextmanager
    async def transaction(
        self, invocation: Invocation, transport: Transport, key: str
    ) -> AsyncGenerator[Opened]:
        if len(key) > MAX_ORDER_KEY:
            raise DeclarationError(
                f"transaction(key=…) has {len(key):,} characters: write {MAX_ORDER_KEY:,} at most"
            )
        capture = Capture(transport)
        partial_failure: PartialFailure | None = None
        async with AsyncExitStack() as stack:
            connection, transaction = await stack.enter_async_context(self._begin(invocation))
            # What the session commits itself is kept in the transaction, which the end of the
            # block alone commits: a mark, its effects and its messages cannot part.
            async with AsyncSession(
                connection, join_transaction_mode="rollback_only", expire_on_commit=False
            ) as session:
                # A session joins the transaction with its first statement, and without this a
                # rollback before that would roll back nothing.
                _ = await session.connection()
                try:
                    yield Opened(session, self._trace(capture))
                except PartialFailure as failure:
                    if invocation.batch is None or not transaction.is_active:
                        raise
                    await self._unmark(connection, invocation, invocation.batch, failure)
                    partial_failure = failure
                except DBAPIError:
                    if not connection.invalidated:
                        raise
                    with self.database.translated():
                        raise
                with self.database.translated():
                    await session.commit()
            if not transaction.is_active:
                raise DeclarationError(
                    "the transaction was rolled back inside its block, which then ended as if all "
                    "were well: raise an error to roll back, or use session.begin_nested() for a "
                    "part"
                )
            commit = partial(self._commit, connection, capture, key)
            if invocation.claim is None:
                await commit(_nothing_else)
            else:
                # Its answer is committed with it, when the handler has returned.
                invocation.claim.adopt(_Pending(commit, stack.pop_all()))
        if partial_failure is not None:
            raise partial_failure

    @asynccontextmanager
    async def _begin(
        self, invocation: Invocation
    ) -> AsyncGenerator[tuple[AsyncConnection, AsyncTransaction]]:
        """Open a transaction with the marks of the invocation; leaving rolls it back."""
        opening = self.database.engine.connect()
        with self.database.translated():
            connection = await opening.__aenter__()
        try:
            with self.database.translated():
                transaction = await connection.begin()
                if invocation.mode == ASYNC:
                    await self._mark(connection, invocation)
            yield connection, transaction
        finally:
            await opening.__aexit__(None, None, None)

    async def _commit(
        self, connection: AsyncConnection, capture: Capture, key: str, record: Record
    ) -> bool:
        """Commit with what `record` writes; False if that says that nothing is to be committed."""
        rows = build_rows(capture.kept, self.service, key, self._clock.now())
        with self.database.translated():
            if rows:
                await store_rows(connection, rows)
            if not await record(connection):
                return False
            await connection.commit()
        if rows:
            self._on_commit()
        return True

    async def _mark(self, connection: AsyncConnection, invocation: Invocation) -> None:
        """Mark an invocation as done. Raises AlreadyDone if it is.

        While another transaction marks the same one, this waits for its end.
        """
        batch, function = invocation.batch, invocation.function
        # In one order, so that two batches with the same items do not wait for each other.
        valid = (invocation.id,) if batch is None else _valid_ids(batch)
        ids = sorted({key_text(id) for id in valid})
        expires = self._clock.now() + self._retries[function].max_age + KEPT_LONGER
        rows = [{"function": function, "id": id, "expires": expires} for id in ids]
        marked = await connection.execute(
            _insert_into_inbox(connection)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(inbox.c.id)
        )
        if len(marked.all()) < len(ids):
            raise AlreadyDone

    async def _unmark(
        self,
        connection: AsyncConnection,
        invocation: Invocation,
        batch: Batch,
        failed: PartialFailure,
    ) -> None:
        """Take back the marks of the items that have failed: those are delivered again.

        Raises the failure itself if it names an item that the handler did not get.
        """
        valid = _valid_ids(batch)
        if not set(failed.failures) <= set(range(len(valid))):
            raise failed
        ids = [key_text(valid[index]) for index in failed.failures]
        marks = delete(inbox).where(inbox.c.function == invocation.function, inbox.c.id.in_(ids))
        with self.database.translated():
            await connection.execute(marks)

    async def find_done(self, function: str, ids: Sequence[str]) -> Collection[str]:
        texts = {key_text(id): id for id in ids}
        query = select(inbox.c.id).where(inbox.c.function == function, inbox.c.id.in_(texts))
        async with self.database.begin() as connection:
            return {texts[id] for id in (await connection.execute(query)).scalars()}

    def keep_executions(self, transport: Transport) -> ExecutionStore:
        return ExecutionStore(
            self.database,
            self.service,
            self._clock,
            transport,
            on_commit=self._on_commit,
            watch=self._watch,
        )


def _valid_ids(batch: Batch) -> list[str]:
    """Return the ids of the items that the handler got, in its order."""
    return [id for index, id in enumerate(batch.ids) if index not in batch.invalid]


def _insert_into_inbox(connection: AsyncConnection) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(inbox)
