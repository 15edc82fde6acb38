"""The control API: all that Lambda's API lacks. JSON in and out, errors as problems."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, TypeAlias

from eventmesh.engine.codecs.envelope import dump_error
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.dead_letters import LISTED, BrokerDeadLetters, DeadLetter
from eventmesh.engine.spec import SourceContext
from eventmesh.http.api.dead_letter_json import dead_letter_members
from eventmesh.http.api.directory import FunctionDirectory, declares_queue, is_public
from eventmesh.http.api.events import STRUCTURED, parse_event
from eventmesh.http.api.guard import Action, ApiGuard, check_spelling
from eventmesh.http.protocol import CONTROL
from eventmesh.http.server.body import body_limit, read_body
from eventmesh.http.server.problems import problem_from
from eventmesh.http.server.request import (
    Request,
    parse_query,
    read_content_type,
    read_message_headers,
)
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.http.server.routing import BuiltinRoute, Endpoint, PathValues
from eventmesh.model.access.identity import Scope
from eventmesh.model.duration import seconds
from eventmesh.model.errors import DeclarationError, FunctionNotFound, InvocationError, Problem
from eventmesh.model.event import check_type, event_headers
from eventmesh.model.ids import check_id, new_id
from eventmesh.model.limits import DEFAULT_MAX_NODES
from eventmesh.model.message import Message
from eventmesh.model.topology import EVENT_SCHEME, QUEUE_SCHEME, dead_letters, inbox

_UNRECORDED: Final = (
    "it waits, runs, waits for a retry or has succeeded; successes are not recorded: "
    "declare on_success and on_failure to have the outcomes of a function sent elsewhere"
)

_COUNT: Final = re.compile(r"[0-9]{1,9}")

_ApiEndpoint: TypeAlias = Callable[[Request, PathValues, str], Awaitable[BytesResponse]]
"""Answers an admitted request. Takes the identity of its sender, too, as messages carry it."""


class ControlApi:
    """Answers requests to the control API."""

    def __init__(
        self, context: SourceContext, guard: ApiGuard, directory: FunctionDirectory
    ) -> None:
        self._context = context
        self._limit = body_limit(context.settings)
        self._event_limit = body_limit(context.settings, max_nodes=DEFAULT_MAX_NODES)
        self._directory = directory
        self._guard = guard
        self._dead_letters = BrokerDeadLetters(
            context.broker, context.clock, self._list_names, context.settings
        )

    def routes(self) -> Sequence[BuiltinRoute]:
        """The routes of the API."""
        function, letters = f"{CONTROL}/functions/{{name}}", f"{CONTROL}/dead-letters/{{name}}"
        answers: Sequence[tuple[str, str, Scope, str, _ApiEndpoint]] = (
            ("GET", f"{CONTROL}/functions", "read", "list functions", self.list_functions),
            ("GET", function, "read", "show", self.show_function),
            (
                "GET",
                f"{function}/invocations/{{id}}",
                "read",
                "show an invocation of",
                self.show_invocation,
            ),
            ("POST", f"{CONTROL}/send/{{destination}}", "send", "send to", self.send),
            ("POST", f"{CONTROL}/events", "emit", "emit an event", self.emit_event),
            ("POST", f"{CONTROL}/events/{{type}}", "emit", "emit", self.emit_data),
            (
                "GET",
                f"{CONTROL}/dead-letters",
                "read",
                "count dead letters",
                self.summarize_dead_letters,
            ),
            ("GET", letters, "read", "list the dead letters of", self.list_dead_letters),
            ("POST", f"{letters}/purge", "manage", "purge", self.purge_dead_letters),
            ("POST", f"{letters}/redrive", "manage", "redrive", self.redrive_dead_letters),
            ("GET", f"{letters}/{{id}}", "read", "show a dead letter of", self.show_dead_letter),
        )
        return [
            BuiltinRoute(method, path, self._guarded(scope, action, answer))
            for method, path, scope, action, answer in answers
        ]

    def _guarded(self, scope: Scope, action: str, answer: _ApiEndpoint) -> Endpoint:
        async def endpoint(request: Request, path: PathValues) -> BytesResponse:
            check_spelling(request)
            target = next(iter(path.values()), "")
            is_event = scope == "send" and target.startswith(EVENT_SCHEME)
            needed: Scope = "emit" if is_event else scope
            asked = Action(action, target, path.get("id") or _query_value(request, "id"))
            try:
                identity = await self._guard.admit(
                    request,
                    needed,
                    asked,
                    lambda: scope == "send" and is_public(self._directory, target),
                )
                return await answer(request, path, encode_identity(identity))
            except DeclarationError as error:
                raise Problem(422, str(error)) from error
            except InvocationError as error:
                problem = problem_from(error)
                problem.extensions["error"] = dump_error(error)
                raise problem from error

        return endpoint

    async def list_functions(self, _: Request, __: PathValues, ___: str) -> BytesResponse:
        """List the functions of the directory."""
        return json_response(200, {"functions": list(self._directory().values())})

    async def show_function(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        """Show a function, with the numbers of messages in its inbox and of dead letters."""
        name = path["name"]
        function = self._directory().get(name)
        if function is None:
            raise Problem(404, f"this process knows no function {name!r}")
        waiting = await self._context.broker.depth(inbox(name))
        dead = await self._context.broker.depth(dead_letters(name))
        return json_response(200, {**function, "waiting": waiting, "dead_letters": dead})

    async def show_invocation(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        """Show the outcome of an asynchronous invocation, as far as it is recorded."""
        name, id = path["name"], path["id"]
        dead_letter = await self._dead_letters.show(name, id)
        known: dict[str, Any] = {"id": id, "function": name}
        if dead_letter is None:
            return json_response(200, known | {"state": "accepted", "detail": _UNRECORDED})
        dead = {"state": "dead-lettered", "dead_letter": dead_letter_members(dead_letter)}
        return json_response(200, known | dead)

    async def send(self, request: Request, path: PathValues, principal: str) -> BytesResponse:
        """Store the body for a destination; the query may have `delay` and `id`."""
        message = await self._message(request, principal)
        destination = path["destination"]
        queue = destination.removeprefix(QUEUE_SCHEME)
        if queue != destination and not declares_queue(self._directory, queue):
            # Other systems may have queues on the same broker: they are none of our callers'.
            raise FunctionNotFound(queue)
        await self._context.environment.transport.send(destination, message, _delay(request))
        return json_response(202, {"id": message.id, "destination": destination})

    async def emit_data(self, request: Request, path: PathValues, principal: str) -> BytesResponse:
        """Emit an event of the type in the path, whose data is the body.

        The query may have `source`, `subject`, `delay` and `id`.
        """
        data = await self._message(request, principal)
        source, subject = (
            _query_value(request, "source", "/client"),
            _query_value(request, "subject"),
        )
        attributes = event_headers(source, data.timestamp, subject=subject)
        event = replace(
            data,
            headers=attributes | dict(data.headers),
            trigger="event",
            type=check_type(path["type"]),
        )
        return await self._emit(request, event)

    async def emit_event(self, request: Request, _: PathValues, principal: str) -> BytesResponse:
        """Emit a CloudEvent, structured or binary; the query may have `delay`."""
        body = await read_body(request, self._event_limit)
        event = parse_event(request.headers, body, self._context.clock.now())
        if event is None:
            raise Problem(
                415,
                f"send a CloudEvent, as {STRUCTURED} or with ce- headers, or put the event's type "
                f"into the path: {CONTROL}/events/order.placed",
                headers={"Accept": STRUCTURED},
            )
        headers = {**event.headers, **_message_headers(request)}
        return await self._emit(request, replace(event, headers=headers, principal=principal))

    async def summarize_dead_letters(self, _: Request, __: PathValues, ___: str) -> BytesResponse:
        """List how many dead letters each function has, and since when."""
        summaries = await self._dead_letters.summarize()
        return json_response(200, {"functions": [asdict(summary) for summary in summaries]})

    async def _list_names(self) -> Sequence[str]:
        return list(self._directory())

    async def list_dead_letters(self, request: Request, path: PathValues, _: str) -> BytesResponse:
        """List the oldest dead letters of a function, or those that the query selects.

        It may have `id` or `limit`.
        """
        if id := _query_value(request, "id"):
            found = await self._dead_letters.show(path["name"], id)
            listed: Sequence[DeadLetter] = [] if found is None else [found]
        else:
            listed = await self._dead_letters.list(path["name"], _limit(request) or LISTED)
        return json_response(
            200, {"dead_letters": [dead_letter_members(dead_letter) for dead_letter in listed]}
        )

    async def show_dead_letter(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        """Show one dead letter."""
        dead_letter = await self._dead_letters.show(path["name"], path["id"])
        if dead_letter is None:
            raise Problem(404, f"{path['name']} has no dead letter {path['id']!r}")
        return json_response(200, dead_letter_members(dead_letter))

    async def redrive_dead_letters(
        self, request: Request, path: PathValues, _: str
    ) -> BytesResponse:
        """Redrive all dead letters, or those that `id` or `limit` in the query select."""
        if id := _query_value(request, "id"):
            return json_response(
                200, {"redriven": await self._dead_letters.redrive(path["name"], id=id)}
            )
        done = await self._dead_letters.redrive_oldest(path["name"], _limit(request))
        return json_response(200, {"redriven": done.count, "remaining": done.remaining})

    async def purge_dead_letters(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        """Drop all dead letters of a function."""
        return json_response(200, {"purged": await self._dead_letters.purge(path["name"])})

    async def _message(self, request: Request, principal: str) -> Message:
        """Build a message of the body."""
        return Message(
            await read_body(request, self._limit),
            check_id(_query_value(request, "id")) or new_id(),
            self._context.clock.now(),
            read_content_type(request.headers),
            _message_headers(request),
            principal=principal,
        )

    async def _emit(self, request: Request, event: Message) -> BytesResponse:
        await self._context.environment.transport.emit(event, _delay(request))
        return json_response(202, {"id": event.id, "type": event.type})


def _message_headers(request: Request) -> Mapping[str, str]:
    """Read the headers of the message that a request stores."""
    return {**request.trace_headers, **read_message_headers(request.headers)}


def _query_value(request: Request, name: str, default: str = "") -> str:
    """Read a query parameter; the last value, where there are several."""
    return parse_query(request.target).get(name, (default,))[-1]


def _delay(request: Request) -> float:
    return seconds(_number_or_text(_query_value(request, "delay", "0")), "delay")


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _limit(request: Request) -> int | None:
    text = _query_value(request, "limit")
    if text and not _COUNT.fullmatch(text):
        raise Problem(422, f"limit={text!r} is not a number")
    return int(text) if text else None
