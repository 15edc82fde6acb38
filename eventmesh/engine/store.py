"""What the engine needs of a store: the database of a service, and the outbox in it.

What implements it is in `eventmesh.store`, which is imported only where a service has a store.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from eventmesh.abc import Transport
from eventmesh.durable.keeper import Keeper
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.invocation import Invocation

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class OwnTables(Protocol):
    """A service's own tables: SQLAlchemy's `MetaData`, which nothing imports without a store."""

    def create_all(self, bind: Any) -> None:
        """Create those that are missing, in the transaction of a connection."""
        ...


class OpenTransaction(Protocol):
    """A transaction of a run, until it is committed or rolled back."""

    @property
    def session(self) -> AsyncSession: ...

    @property
    def transport(self) -> Transport:
        """Carries `invoke` at once, and keeps what is sent and emitted until the commit."""
        ...


class ServiceStore(Protocol):
    """The store of one service in this process."""

    def transaction(
        self, invocation: Invocation, transport: Transport, key: str
    ) -> AbstractAsyncContextManager[OpenTransaction]:
        """Open a transaction; leaving commits it, or rolls it back if an error passes.

        The commit stores the messages, and, of an asynchronous invocation, the mark that it is
        done. Raises AlreadyDone on entering if there is such a mark, and StoreUnavailable.
        """
        ...

    async def find_done(self, function: str, ids: Sequence[str]) -> Collection[str]:
        """Return those of the ids that are marked as done. Raises StoreUnavailable."""
        ...

    def keep_executions(self, transport: Transport) -> Keeper:
        """Return what keeps the executions of the service's durable functions."""
        ...


class NoStore:
    """Stands for the store of a run that cannot have a transaction, and says why not."""

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def transaction(
        self, invocation: Invocation, transport: Transport, key: str
    ) -> AbstractAsyncContextManager[OpenTransaction]:
        """Raise SettingsError."""
        del transport, key
        raise SettingsError(
            f"{invocation.function}: ctx.transaction() cannot be used: {self._reason}"
        )

    async def find_done(self, function: str, ids: Sequence[str]) -> Collection[str]:
        """Return none."""
        del function, ids
        return ()

    def keep_executions(self, transport: Transport) -> Keeper:
        """Raise SettingsError."""
        del transport
        raise SettingsError(f"durable functions cannot be run: {self._reason}")


NO_STORE = NoStore(
    "its service has no store; set EVENTMESH_STORE, or write Service(…, store='postgresql://…')"
)
USED = NoStore(
    "this run has had its transaction, and there is one a run, so that its effects cannot part; "
    "do all of it in one block"
)
_ISOLATED: Final = (
    "a function with a process of its own has no store, whose address and password that process "
    "does not get; leave isolation= out, or send what is to be stored to a function without it"
)
ISOLATED = NoStore(_ISOLATED)


def check_isolated(function: str, handler: Callable[..., Any], context: str | None) -> None:
    """Raise DeclarationError for an isolated handler whose own code opens a transaction.

    `context` is the name of its parameter for the Context. What other functions do with it shows
    only when it runs: then `ctx.transaction()` raises.
    """
    code = getattr(handler, "__code__", None)
    if context is not None and isinstance(code, CodeType) and _loads(code, context, "transaction"):
        raise DeclarationError(f"{function}: {context}.transaction() cannot be used: {_ISOLATED}")


def _loads(code: CodeType, variable: str, attribute: str) -> bool:
    """Whether code, or code inside of it, loads this attribute of this local variable."""
    before: Any = None
    for instruction in dis.get_instructions(code):
        loads = instruction.opname in ("LOAD_ATTR", "LOAD_METHOD")
        if loads and instruction.argval == attribute and before == variable:
            return True
        loaded = instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF"))
        before = instruction.argval if loaded else None
        if isinstance(before, tuple):  # Two at once, from Python 3.13 on.
            before = cast("tuple[str, ...]", before)[-1]
    return any(_loads(inner, variable, attribute) for inner in _inner(code))


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (each for each in code.co_consts if isinstance(each, CodeType))
