"""Reads and controls the executions that one store keeps, and answers others who ask for that."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from eventmesh.durable.errors import DurableError, ExecutionNotFound
from eventmesh.durable.event import Event
from eventmesh.durable.keeper import Change, ExecutionFilter, Keeper, Page
from eventmesh.durable.operation import ErrorObject
from eventmesh.durable.transition import Transition
from eventmesh.engine.codecs.trust import gateways_of
from eventmesh.engine.executions.access import (
    ALL,
    FIRST,
    MAX_LISTED,
    ExecutionReport,
    not_found,
    redact,
    report,
)
from eventmesh.engine.executions.messages import Answer, answer_with, read_request
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.executions.messages.contents import send_commands
from eventmesh.model.errors import AccessDenied, InvocationError, PayloadInvalid
from eventmesh.model.message import Message
from eventmesh.model.result import Result


class KeptExecutions:
    """The executions in a store. See `ExecutionAccess`."""

    def __init__(self, keeper: Keeper, service: str = "") -> None:
        """`service` is the one whose executions these are; "" for all that are kept."""
        self._keeper = keeper
        self._service = service

    async def list(
        self, which: ExecutionFilter = ALL, page: Page = FIRST
    ) -> tuple[Sequence[ExecutionReport], str]:
        with_limit = Page(min(page.size, MAX_LISTED), page.after)
        try:
            found, after = await self._keeper.list(which, with_limit)
        except DurableError as error:
            raise PayloadInvalid(str(error)) from None
        return [report(each, whole=False) for each in found], after

    async def show(self, id: str, function: str = "") -> ExecutionReport:
        del function
        async with self._changing(id) as change:
            return report(change.execution, whole=True)

    async def history(
        self, id: str, page: Page = FIRST, *, function: str = "", newest_first: bool = False
    ) -> tuple[Sequence[Event], str]:
        del function
        with_limit = Page(min(page.size, MAX_LISTED), page.after)
        try:
            execution = await self._keeper.read(id)
            self._check_own(id, execution.service)
            events, after = await self._keeper.read_history(
                id, with_limit, newest_first=newest_first
            )
        except ExecutionNotFound as error:
            raise not_found(id, str(error)) from None
        return [redact(each) for each in events], after

    async def stop(self, id: str, reason: str = "", *, function: str = "") -> ExecutionReport:
        del function
        error = ErrorObject(reason or "stopped by an operator", "Execution.Stopped")
        return await self._act(id, lambda transition: transition.stop(error))

    async def pause(
        self, id: str, reason: str = "", *, hold_timeout: bool = False, function: str = ""
    ) -> ExecutionReport:
        del function
        return await self._act(
            id, lambda transition: transition.pause(reason, with_timeout=hold_timeout)
        )

    async def resume(self, id: str, reason: str = "", *, function: str = "") -> ExecutionReport:
        del function
        return await self._act(id, lambda transition: transition.resume(reason))

    async def _act(self, id: str, act: Callable[[Transition], None]) -> ExecutionReport:
        async with self._changing(id) as change:
            if not change.execution.is_ended:
                act(change.transition)
                await send_commands(change)
            return report(change.execution, whole=True)

    @asynccontextmanager
    async def _changing(self, id: str) -> AsyncGenerator[Change]:
        try:
            async with self._keeper.change(id) as change:
                self._check_own(id, change.execution.service)
                yield change
        except ExecutionNotFound as error:
            raise not_found(id, str(error)) from None

    def _check_own(self, id: str, service: str) -> None:
        # Several services may have one database, and each answers for itself.
        if self._service and service != self._service:
            raise not_found(id)


def answer_requests(
    function: FunctionSpec, context: SourceContext
) -> Callable[[Message], Awaitable[Result]]:
    """Build what answers, for the service of that function, what `MeshExecutions` asks.

    Where each service has a user of the broker, that of a gateway may ask, and the service itself.
    """
    gateways = gateways_of(context.settings)
    service = function.service
    store = context.environment.stores.get(service)
    access = None
    if store is not None:
        keeper = store.keep_executions(context.environment.transport)
        access = KeptExecutions(keeper, service)

    async def answer(message: Message) -> Result:
        try:
            if gateways is not None and message.sender not in (*gateways, service):
                raise AccessDenied(
                    f"{message.sender or 'nobody'} may not ask for executions of {service}: name "
                    "the user in EVENTMESH_GATEWAYS"
                )
            asked = read_request(message.body)
            if access is not None:
                told = await answer_with(access, asked)
            elif asked.verb == "list":
                told = Answer()
            else:
                raise not_found(asked.id, f"the service {service} has no store")
            return Result(told.model_dump_json().encode())
        except InvocationError as error:
            return Result(b"", error=error)

    return answer
