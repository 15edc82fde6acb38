"""The three calls: invoke (waits for the result), send (stored, then delivered), emit (an event).

`Context` offers them to handlers, and `Client` to programs outside of the mesh. They differ in who
calls, how long a call may take, and which trace it belongs to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypedDict, TypeVar, Unpack, overload

from eventmesh.abc import Broker, Callee, Transport
from eventmesh.aio.clock import Clock
from eventmesh.durable.callback_id import read_callback_id
from eventmesh.durable.completion import COMPLETE, DURABLE, Completion
from eventmesh.durable.errors import CallbackNotOpen
from eventmesh.durable.shapes import ErrorShape
from eventmesh.engine.codecs.envelope import result_from, to_fault
from eventmesh.engine.codecs.json import decode, decode_as, encode, get_adapter
from eventmesh.model.access.outgoing import Outgoing
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.errors import (
    DeclarationError,
    FunctionNotFound,
    InvocationError,
    PayloadInvalid,
)
from eventmesh.model.event import check_type, event_headers
from eventmesh.model.ids import check_id, new_id
from eventmesh.model.limits import DEFAULT_TIMEOUT
from eventmesh.model.message import NO_HEADERS, Message, utf8
from eventmesh.model.result import Result
from eventmesh.model.topology import EVENT_SCHEME, Route, parse_destination, to_rpc, to_subscribers

T = TypeVar("T")


class InvokeOptions(TypedDict, total=False):
    """What `invoke` takes beside the function, its payload and the type of the result.

    `timeout` is a duration: what is left of the calling invocation's own time, or 30 s, unless
    given. `headers` travel with the invocation.
    """

    timeout: Duration | None
    headers: Mapping[str, str]


class Caller:
    """Calls functions of the mesh and emits events."""

    __slots__ = ("_clock", "_name", "_outgoing", "_principal", "_transport")

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        name: str,
        principal: str = "",
        outgoing: Outgoing | None = None,
    ) -> None:
        """`name` is the calling function, and `principal` the identity of its caller, or "".

        `outgoing` is what it may call and emit; None leaves that open.
        """
        self._transport = transport
        self._clock = clock
        self._name = name
        self._principal = principal
        self._outgoing = outgoing

    @overload
    async def invoke(
        self,
        function: Callee[..., Coroutine[Any, Any, T]],
        payload: object = None,
        /,
        **options: Unpack[InvokeOptions],
    ) -> T: ...
    @overload
    async def invoke(
        self,
        function: Callee[..., AsyncIterator[T] | Iterator[T]],
        payload: object = None,
        /,
        **options: Unpack[InvokeOptions],
    ) -> list[T]: ...
    @overload
    async def invoke(
        self,
        function: Callee[..., T],
        payload: object = None,
        /,
        **options: Unpack[InvokeOptions],
    ) -> T: ...
    @overload
    async def invoke(
        self,
        function: str,
        payload: object = None,
        /,
        *,
        returns: type[T],
        **options: Unpack[InvokeOptions],
    ) -> T: ...
    @overload
    async def invoke(
        self,
        function: str,
        payload: object = None,
        /,
        *,
        returns: Any = None,
        **options: Unpack[InvokeOptions],
    ) -> Any: ...
    # The options are spelled out here, so that Python itself refuses others; type checkers compare
    # them with `InvokeOptions`.
    async def invoke(
        self,
        function: Any,
        payload: object = None,
        /,
        *,
        returns: Any = None,
        timeout: Duration | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Any:
        """Run a function and wait for its result.

        `function` is a declared function, whose result type is then known, or its name
        "service.function", with the type of the result in `returns`. The result is validated as
        that type; `bytes` returns it unchanged. Without a type it is the decoded JSON, or bytes if
        it has another content type. `timeout` (a duration; if not given, the time that the calling
        invocation has left, or 30 s) ends the wait, and the function is not started after it.

        Raises FunctionNotFound, Throttled, InvocationTimeout, FunctionError, PayloadInvalid (of
        the payload or of the result), PayloadTooLarge, AccessDenied or BrokerUnavailable.
        """
        if isinstance(function, str):
            name, result_type = function, returns
        else:
            name, result_type = function.full_name, function.result_type
        if self._outgoing is not None:
            self._outgoing.check_call(name)
        now = self._clock.now()
        message = Message(
            encode(payload),
            new_id(),
            now,
            headers=_check_headers(self._headers(headers)),
            deadline=self._deadline(self._clock.monotonic(), timeout),
            caller=self._name,
            principal=self._principal,
        )
        result = await self._transport.request(name, message)
        if result.error is not None:
            # Never a signal: raised here, it would settle the invocation of the caller.
            raise to_fault(result.error)
        return _decode_result(result, result_type, f"the result of {name}")

    async def send(
        self,
        function: str | Callee[..., Any],
        payload: object = None,
        /,
        *,
        delay: Duration = 0.0,
        headers: Mapping[str, str] = NO_HEADERS,
        id: str | None = None,
    ) -> str:
        """Store an asynchronous invocation, to be delivered in `delay`, and return its id.

        `function` is a declared function, its name, "queue:NAME" for a queue or "event:TYPE".
        When this returns, the broker holds it: it is run at least once. `id` (255 bytes at most)
        lets the receiver recognise repetitions.

        Raises FunctionNotFound, Throttled (the inbox is full), PayloadInvalid, PayloadTooLarge,
        AccessDenied, BrokerUnavailable, and DeclarationError for an invalid delay, id or event
        type.
        """
        name = function if isinstance(function, str) else function.full_name
        if name.startswith(EVENT_SCHEME):
            type = name.removeprefix(EVENT_SCHEME)
            return await self.emit(type, payload, delay=delay, headers=headers, id=id)
        if self._outgoing is not None:
            self._outgoing.check_call(name)
        message = Message(
            encode(payload),
            check_id(id) if id else self._next_id(),
            self._clock.now(),
            headers=_check_headers(self._headers(headers)),
            caller=self._name,
            principal=self._principal,
        )
        wait = seconds(delay, "delay") if delay else 0.0
        await self._transport.send(name, message, wait)
        return message.id

    async def emit(
        self,
        type: str,
        data: object = None,
        /,
        *,
        subject: str = "",
        source: str = "",
        delay: Duration = 0.0,
        headers: Mapping[str, str] = NO_HEADERS,
        id: str | None = None,
    ) -> str:
        """Publish an event to every function subscribed to its type, and return its id.

        `type` is words separated by dots ("order.placed"). `subject` and `source` are the
        CloudEvents attributes; the source is the calling function unless given. When this
        returns, the broker holds the event for each subscriber.

        Raises PayloadInvalid, PayloadTooLarge, AccessDenied, BrokerUnavailable, and
        DeclarationError for an invalid type, delay or id.
        """
        if self._outgoing is not None:
            self._outgoing.check_emit(type)
        now = self._clock.now()
        attributes = event_headers(source or f"/{self._name}", now, subject=subject)
        message = Message(
            encode(data),
            check_id(id) if id else self._next_id(),
            now,
            headers=_check_headers(attributes | self._headers(headers)),
            trigger="event",
            caller=self._name,
            principal=self._principal,
            type=check_type(type),
        )
        await self._transport.emit(message, seconds(delay, "delay") if delay else 0.0)
        return message.id

    async def complete(
        self, callback: str, result: object = None, /, *, error: str | None = None
    ) -> None:
        """Complete the callback of a durable function, which goes on with `result`, or `error`.

        `callback` is the id that it gave out. What was completed before, or has timed out, stays as
        it is. Raises FunctionNotFound for an id that is none, and what `send` raises.
        """
        fields = {"ErrorMessage": error, "ErrorType": "Error"}
        failure = None if error is None else ErrorShape.model_validate(fields)
        body = encode(result).decode() if error is None else None
        await self._complete(Completion(callback=callback, result=body, error=failure))

    async def heartbeat(self, callback: str, /) -> None:
        """Tell a durable function that its callback will be completed: its heartbeat begins anew.

        Raises what `complete` raises.
        """
        await self._complete(Completion(callback=callback, heartbeat=True))

    async def _complete(self, completion: Completion) -> None:
        try:
            function = read_callback_id(completion.callback).function
        except CallbackNotOpen as error:
            raise FunctionNotFound("the callback", str(error)) from None
        if self._outgoing is not None:
            self._outgoing.check_call(function)
        message = Message(
            completion.model_dump_json(by_alias=True).encode(),
            new_id(),
            self._clock.now(),
            headers=_check_headers(self._headers(NO_HEADERS)),
            trigger=DURABLE,
            type=COMPLETE,
            caller=self._name,
            principal=self._principal,
        )
        await self._transport.send(function, message, 0.0)

    def _deadline(self, now: float, timeout: Duration | None) -> float:
        return now + (DEFAULT_TIMEOUT if timeout is None else seconds(timeout, "timeout"))

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return dict(headers)

    def _next_id(self) -> str:
        """Return the id of the next message that is stored."""
        return new_id()


class BrokerTransport:
    """Calls over a broker: it knows which message goes to which queue."""

    __slots__ = ("_broker", "_note_delayed")

    def __init__(
        self, broker: Broker, note_delayed: Callable[[str, str, float], object] | None = None
    ) -> None:
        """`note_delayed` is told which function gets what id when, in seconds since the epoch."""
        self._broker = broker
        self._note_delayed = note_delayed

    async def request(self, function: str, message: Message) -> Result:
        try:
            return result_from(await self._broker.request(_find_route(to_rpc, function), message))
        except InvocationError as error:
            return Result(b"", error=error)

    async def send(self, destination: str, message: Message, delay: float) -> None:
        route = _find_route(parse_destination, destination)
        due = _with_due_time(message, delay)
        await self._broker.publish(route, due, delay=delay)
        if delay and self._note_delayed is not None:
            self._note_delayed(destination, message.id, due.timestamp)

    async def emit(self, event: Message, delay: float) -> None:
        await self._broker.publish(
            to_subscribers(event.type), _with_due_time(event, delay), delay=delay
        )


def _with_due_time(message: Message, delay: float) -> Message:
    # Its age counts from when it is due: the delay does not make it too old.
    return replace(message, timestamp=message.timestamp + delay) if delay else message


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers. Raises PayloadInvalid for one that a message cannot have."""
    for name, text in headers.items():
        if utf8(name) != name or utf8(text) != text:
            raise PayloadInvalid(
                f"the header {name!r} cannot be sent: it has a lone surrogate, half of a character "
                "that UTF-8 cannot carry; send the bytes it stands for in the payload"
            )
    return headers


def _find_route(to: Callable[[str], Route], name: str) -> Route:
    try:
        return to(name)
    except DeclarationError as error:
        # No function can have that name, which may be the input of a user.
        raise FunctionNotFound(name, str(error)) from None


def _decode_result(result: Result, type: Any, what: str) -> Any:
    if type is bytes:
        return result.body
    if type is not None and type is not Any:
        return decode_as(result.body, get_adapter(type), what)
    return decode(result.body, what) if "json" in result.content_type else result.body
