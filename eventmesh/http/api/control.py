"""The control API: all that Lambda's API lacks. JSON in and out, errors as problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from eventmesh.engine.codecs.envelope import dump_error
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.codecs.trust import gateways_of
from eventmesh.engine.mesh_results import MeshResults
from eventmesh.engine.results import StoredResult, result_members
from eventmesh.engine.spec import SourceContext
from eventmesh.engine.upkeep.dead_letters import LISTED, BrokerDeadLetters, DeadLetter
from eventmesh.http.api.dead_letter_json import dead_letter_members
from eventmesh.http.api.directory import FunctionDirectory, declares_queue, is_public
from eventmesh.http.api.events import STRUCTURED, parse_event
from eventmesh.http.api.executions import ApiEndpoint, ApiRoute, ExecutionsApi
from eventmesh.http.api.guard import Action, ApiGuard, check_spelling
from eventmesh.http.api.instances import InstancesApi
from eventmesh.http.api.leftovers import LeftoversApi
from eventmesh.http.api.query import query_value, read_limit
from eventmesh.http.api.timers import TimersApi
from eventmesh.http.protocol import CONTROL
from eventmesh.http.server.body import body_limit, read_body
from eventmesh.http.server.problems import problem_from
from eventmesh.http.server.request import (
    Request,
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
    "it waits, runs, waits for a retry, has succeeded or never was: that is not recorded without a "
    "store (EVENTMESH_STORE); 'eventmesh show ID' asks all processes"
)


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
            context.broker, context.clock, self._list_known, gateways_of(context.settings)
        )
        self._executions = ExecutionsApi(context, self._limit, self._list_names)
        self._instances = InstancesApi(context)
        self._leftovers = LeftoversApi(context, self._limit)
        self._timers = TimersApi(context, self._limit, self._list_names)
        self._results = MeshResults(
            context.broker, context.clock, self._list_names, context.results
        )

    def routes(self) -> Sequence[BuiltinRoute]:
        """The routes of the API."""
        function, letters = f"{CONTROL}/functions/{{name}}", f"{CONTROL}/dead-letters/{{name}}"
        invocation = f"{function}/invocations/{{id}}"
        answers: Sequence[ApiRoute] = (
            *self._executions.routes(),
            *self._timers.routes(),
            *self._instances.routes(),
            *self._leftovers.routes(),
            ("GET", f"{CONTROL}/functions", "read", "list functions", self.list_functions),
            ("GET", function, "read", "show", self.show_function),
            ("GET", invocation, "read", "show an invocation of", self.show_invocation),
            ("DELETE", invocation, "manage", "cancel an invocation of", self.cancel_invocation),
            ("GET", f"{CONTROL}/invocations/{{id}}", "read", "show", self.find_invocations),
            ("DELETE", f"{CONTROL}/invocations/{{id}}", "manage", "cancel", self.cancel_all),
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

    def _guarded(self, scope: Scope, action: str, answer: ApiEndpoint) -> Endpoint:
        async def endpoint(request: Request, path: PathValues) -> BytesResponse:
            check_spelling(request)
            target = next(iter(path.values()), "")
            is_event = scope == "send" and target.startswith(EVENT_SCHEME)
            needed: Scope = "emit" if is_event else scope
            asked = Action(action, target, path.get("id") or query_value(request, "id"))
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
        if name in self._directory() and (found := await self._ask(name, id)) is not None:
            return _result_response(found, id, name)
        dead_letter = await self._dead_letters.show(name, id)
        known: dict[str, Any] = {"id": id, "function": name}
        if dead_letter is None:
            return json_response(200, known | {"state": "unknown", "detail": _UNRECORDED})
        dead = {"state": "dead-lettered", "dead_letter": dead_letter_members(dead_letter)}
        return json_response(200, known | dead)

    async def _ask(self, function: str, id: str) -> Sequence[StoredResult] | None:
        """Return what the store of a function's service knows of an invocation; None without one.

        The id is one that a message can have.
        """
        try:
            answer = await self._results.ask("find", function, function, check_id(id))
        except FunctionNotFound:  # Its service does not run.
            return None
        return answer.results if answer.stored else None

    async def cancel_invocation(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        """Cancel an asynchronous invocation of one function."""
        name, id = path["name"], path["id"]
        return _result_response(await self._results.cancel(id, name), id, name)

    async def find_invocations(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        """List what is known of the asynchronous invocations with an id, of all functions."""
        return _results_response(await self._results.find(path["id"]))

    async def cancel_all(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        """Cancel the known asynchronous invocations with an id, of all functions."""
        return _results_response(await self._results.cancel(path["id"]))

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
            query_value(request, "source", "/client"),
            query_value(request, "subject"),
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

    async def _list_known(self) -> Iterable[str]:
        """Return also those that no process has any more."""
        leftovers = self._context.leftovers
        recorded = () if leftovers is None else await leftovers.functions()
        return {*self._directory(), *recorded}

    async def list_dead_letters(self, request: Request, path: PathValues, _: str) -> BytesResponse:
        """List the oldest dead letters of a function, or those that the query selects.

        It may have `id` or `limit`.
        """
        if id := query_value(request, "id"):
            found = await self._dead_letters.show(path["name"], id)
            listed: Sequence[DeadLetter] = [] if found is None else [found]
        else:
            listed = await self._dead_letters.list(path["name"], read_limit(request) or LISTED)
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
        if id := query_value(request, "id"):
            return json_response(
                200, {"redriven": await self._dead_letters.redrive(path["name"], id=id)}
            )
        done = await self._dead_letters.redrive_oldest(path["name"], read_limit(request))
        return json_response(200, {"redriven": done.count, "remaining": done.remaining})

    async def purge_dead_letters(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        """Drop all dead letters of a function."""
        return json_response(200, {"purged": await self._dead_letters.purge(path["name"])})

    async def _message(self, request: Request, principal: str) -> Message:
        """Build a message of the body."""
        return Message(
            await read_body(request, self._limit),
            check_id(query_value(request, "id")) or new_id(),
            self._context.clock.now(),
            read_content_type(request.headers),
            _message_headers(request),
            principal=principal,
        )

    async def _emit(self, request: Request, event: Message) -> BytesResponse:
        await self._context.environment.transport.emit(event, _delay(request))
        return json_response(202, {"id": event.id, "type": event.type})


def _result_response(found: Sequence[StoredResult], id: str, function: str) -> BytesResponse:
    if not found:
        raise Problem(404, f"nothing is known of an invocation {id!r} of {function}")
    return json_response(200, result_members(found[0]))


def _results_response(found: Sequence[StoredResult]) -> BytesResponse:
    return json_response(200, {"invocations": [result_members(result) for result in found]})


def _message_headers(request: Request) -> Mapping[str, str]:
    """Read the headers of the message that a request stores."""
    return {**request.read_trace_headers(), **read_message_headers(request.headers)}


def _delay(request: Request) -> float:
    return seconds(_number_or_text(query_value(request, "delay", "0")), "delay")


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
