"""Steps: code that is run once, and whose result is recorded."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from eventmesh.durable.operation import ErrorObject, Operation, OperationAction, OperationUpdate
from eventmesh.durable.shapes import MAX_PAYLOAD
from eventmesh.engine.codecs.json import decode, decode_as, encode, get_adapter
from eventmesh.executions.errors import operation_error, to_error_object
from eventmesh.executions.operations import Operations
from eventmesh.executions.session import Session
from eventmesh.model.errors import PayloadTooLarge, Reject, RetryLater
from eventmesh.model.result import HANDLER_ERRORS
from eventmesh.model.retry import Retry

_INTERRUPTED = "the process ended while the step ran, and it is run at most once a try"


class StepRun:
    """One step in one turn."""

    def __init__(
        self,
        session: Session,
        operations: Operations,
        id: str,
        name: str,
        retry: Retry,
        *,
        at_most_once: bool,
    ) -> None:
        self._session = session
        self._id = id
        self._retry = retry
        self._at_most_once = at_most_once
        self._start = OperationUpdate(
            id, "STEP", "START", name=name, parent=operations.parent, subtype="Step"
        )

    async def finish(
        self, function: Callable[..., Any], arguments: Sequence[Any], result_type: Any
    ) -> Any:
        """Run the step until it has an outcome, or take the one that it has."""
        known = self._session.operations.get(self._id)
        if known is not None and known.status == "STARTED" and self._at_most_once:
            error = ErrorObject(_INTERRUPTED, "StepInterrupted")
            await self._session.record(self._failed(error, known.attempt + 1))
        while True:
            known = await self._find_ended()
            if known is not None:
                return _outcome(known, result_type)
            attempt = await self._begin()
            self._session.begin_work()
            try:
                payload = encode_result(await call(function, arguments))
                update = self._update("SUCCEED", payload=payload)
            except HANDLER_ERRORS as error:
                update = self._failed(to_error_object(error), attempt, error)
            finally:
                self._session.end_work()
            await self._session.record(update)

    async def poll(self, condition: Callable[..., Any], pause: int, result_type: Any) -> Any:
        """Ask again and again until there is something true."""
        while True:
            known = await self._find_ended()
            if known is not None:
                return _outcome(known, result_type)
            await self._begin()
            self._session.begin_work()
            try:
                found = await call(condition, ())
                update = (
                    self._update("SUCCEED", payload=encode_result(found))
                    if found
                    else self._update("RETRY", payload="null", delay=pause)
                )
            except HANDLER_ERRORS as error:
                update = self._update("FAIL", error=to_error_object(error))
            finally:
                self._session.end_work()
            await self._session.record(update)

    async def _find_ended(self) -> Operation | None:
        """Return the step if it has ended; None if it is to be run now."""
        known = self._session.operations.get(self._id)
        if known is not None and known.status == "PENDING":
            known = await self._session.wait_ended(self._id)
        return known if known is not None and known.is_ended else None

    async def _begin(self) -> int:
        """Record that a try begins, and return its number."""
        known = self._session.operations.get(self._id)
        if self._at_most_once:
            await self._session.record(self._start)
        elif known is None or known.status == "READY":
            self._session.post(self._start)
        return 1 if known is None else known.attempt + 1

    def _failed(
        self, error: ErrorObject, attempt: int, raised: BaseException | None = None
    ) -> OperationUpdate:
        if attempt >= self._retry.attempts or isinstance(raised, Reject):
            return self._update("FAIL", error=error)
        delay = self._retry.delay(attempt)
        if isinstance(raised, RetryLater) and raised.after is not None:
            delay = raised.after
        return self._update("RETRY", error=error, delay=max(math.ceil(delay), 1))

    def _update(
        self,
        action: OperationAction,
        *,
        payload: str | None = None,
        error: ErrorObject | None = None,
        delay: int = 1,
    ) -> OperationUpdate:
        return OperationUpdate(
            self._id,
            "STEP",
            action,
            name=self._start.name,
            parent=self._start.parent,
            subtype=self._start.subtype,
            payload=payload,
            error=error,
            next_attempt_delay=delay,
        )


async def call(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Call a function: in the event loop if it is a coroutine function, else in a thread."""
    plain = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    if inspect.iscoroutinefunction(plain):
        return await function(*arguments)
    returned = await asyncio.to_thread(function, *arguments)
    return await returned if inspect.isawaitable(returned) else returned


def _outcome(operation: Operation, result_type: Any) -> Any:
    if operation.status != "SUCCEEDED":
        raise operation_error(operation)
    return read_result(operation, result_type)


def encode_result(returned: Any) -> str:
    """Encode a result. Raises PayloadInvalid, and PayloadTooLarge over MAX_PAYLOAD."""
    body = encode(returned)
    if len(body) > MAX_PAYLOAD:
        raise PayloadTooLarge(len(body), MAX_PAYLOAD)
    return body.decode()


def read_result(operation: Operation, result_type: Any) -> Any:
    """Decode the result of an operation as a type, the same in every turn."""
    body = (operation.result or "").encode()
    what = f"the result of {operation.name or operation.type.lower()}"
    if result_type is Any or result_type is None:
        return decode(body, what)
    return decode_as(body, get_adapter(result_type), what)


def find_name(function: Callable[..., Any]) -> str:
    """Find the name of a function, for the history."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return "" if name == "<lambda>" else str(name)


def find_result_type(function: Callable[..., Any]) -> Any:
    """Find the annotation of what a function returns; Any if it has none that can be read."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return get_type_hints(function, include_extras=True).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return Any
