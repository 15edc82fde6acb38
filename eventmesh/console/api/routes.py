"""All routes of the console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import field
from importlib.metadata import version
from typing import Final, Literal

from eventmesh.aio.clock import Clock
from eventmesh.console.api.executions import ExecutionsApi
from eventmesh.console.api.failures import FailuresApi
from eventmesh.console.api.findings import Examine, FindingsApi
from eventmesh.console.api.gate import Answer, Asked, Gate
from eventmesh.console.api.instances import InstancesApi
from eventmesh.console.api.invocations import InvocationsApi
from eventmesh.console.api.login import SESSION, Login, LoginWanted
from eventmesh.console.api.page import ROOT, page_routes
from eventmesh.console.api.timers import TimersApi
from eventmesh.console.sources import Source
from eventmesh.console.state.history import open_history
from eventmesh.console.state.members import described_members
from eventmesh.console.state.mesh_state import MeshState, ReadCollection
from eventmesh.console.state.recorded import ListRecorded, Recorded
from eventmesh.console.state.replay import check_whole, find_recorded
from eventmesh.console.state.watching import Watched, watched
from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.codecs.envelope import to_fault
from eventmesh.engine.codecs.json import decode, encode
from eventmesh.http.api.guard import ApiGuard
from eventmesh.http.auth.authenticator import AnyOf, Authenticator
from eventmesh.http.auth.build import build_authenticator
from eventmesh.http.server.body import body_limit
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BaseResponse, BytesResponse, json_response
from eventmesh.http.server.routing import BuiltinRoute
from eventmesh.http.server.streaming import SSE, StreamingResponse
from eventmesh.model.access.identity import Scope
from eventmesh.model.errors import Problem
from eventmesh.model.ids import new_id
from eventmesh.model.limits import DEFAULT_TIMEOUT
from eventmesh.model.message import Message
from eventmesh.model.settings import Settings, redacted
from eventmesh.model.topology import NAME_PREFIX, check_function, dead_letters, inbox
from eventmesh.model.value import value

API: Final = f"{ROOT}/api"


@value
class ConsoleOptions:
    """How the console is served: as a command, or in `eventmesh dev`.

    `examine` finds what is wrong with the mesh; None where there is nothing to examine.
    `list_recorded` names functions that no process has any more; None where none outlive it.
    `more` are collections of the state that this console has and others have not.
    """

    mode: Literal["console", "dev"]
    read_only: bool = False
    examine: Examine | None = None
    list_recorded: ListRecorded | None = None
    more: Mapping[str, ReadCollection] = field(
        default_factory=dict[str, ReadCollection], hash=False
    )


class ConsoleApi:
    """Answers what is not about dead letters."""

    def __init__(
        self,
        source: Source,
        state: Watched,
        gate: Gate,
        settings: Settings,
        mode: str,
    ) -> None:
        self._source = source
        self._state = state
        self._gate = gate
        self._settings = settings
        self._mode = mode
        self._transport = BrokerTransport(source.broker)

    async def show_me(self, asked: Asked) -> BytesResponse:
        """Tell who asks, what they may do, and what this is."""
        return json_response(
            200,
            {
                "principal": asked.identity.principal,
                "scopes": sorted(asked.identity.scopes),
                "session": asked.identity.method == SESSION,
                "read_only": self._gate.read_only,
                "mode": self._mode,
                "broker": redacted(self._settings.broker),
                "version": version("eventmesh"),
                "payloads": self._settings.record_payloads is True,
                "now": self._source.clock.now(),
            },
        )

    async def show_state(self, _: Asked) -> BytesResponse:
        """Return the whole state once."""
        state = await self._state.read()
        return json_response(200, {"now": self._source.clock.now(), **state})

    async def stream(self, asked: Asked) -> BaseResponse:
        """Return a snapshot of the state, and then what changes, until the session ends."""
        events = self._while_it_lasts(asked.request, await self._state.watch())
        return StreamingResponse(events, 200, SSE, bytes, "")

    async def _while_it_lasts(
        self, request: Request, events: AsyncGenerator[bytes]
    ) -> AsyncIterator[bytes]:
        async with aclosing(events):
            async for event in events:
                if not self._gate.lasts(request):
                    return
                yield event

    async def show_function(self, asked: Asked) -> BytesResponse:
        """Show one function."""
        name = asked.path["name"]
        found = (await self._state.read()).get("functions", {}).get(name)
        if found is None:
            raise Problem(404, f"no process serves a function {name!r}")
        sights = await self._source.look(seconds=0.0, most=0, describe=name)
        described = next((each.described for each in sights if each.described is not None), None)
        return json_response(200, {**found, **described_members(name, described)})

    async def invoke(self, asked: Asked) -> BytesResponse:
        """Invoke a function with a payload, and wait for its result or only store it."""
        name = check_function(asked.path["name"])
        return await self._run(asked, name, encode(asked.body.get("payload")))

    async def replay(self, asked: Asked) -> BytesResponse:
        """Run an invocation again: with its recorded payload, or another one."""
        run = await find_recorded(self._source, asked.path["id"], asked.text("function"))
        if "payload" in asked.body:
            payload = encode(asked.body["payload"])
        else:
            check_whole(run)
            payload = run.payload.encode()
        return await self._run(asked, check_function(run.function), payload)

    async def _run(self, asked: Asked, name: str, payload: bytes) -> BytesResponse:
        message = Message(
            payload,
            new_id(),
            self._source.clock.now(),
            principal=asked.principal,
            deadline=self._source.clock.monotonic() + DEFAULT_TIMEOUT,
        )
        if asked.text("mode") == "async":
            await self._transport.send(name, message, 0.0)
            return json_response(202, {"id": message.id})
        result = await self._transport.request(name, message)
        if result.error is not None:
            raise to_fault(result.error)
        if "json" in result.content_type:
            shown = decode(result.body, "the result")
        else:
            shown = result.body.decode(errors="replace")
        return json_response(200, {"id": message.id, "function": name, "result": shown})

    async def purge(self, asked: Asked) -> BytesResponse:
        """Drop all messages of a queue whose name was typed."""
        name = asked.path["name"]
        if asked.text("confirm") != name:
            raise Problem(422, f"type the queue's name, {name!r}, to drop what is in it")
        for kind, queue in (("inbox", inbox), ("dead", dead_letters)):
            prefix = f"{NAME_PREFIX}.{kind}."
            if name.startswith(prefix):
                function = check_function(name.removeprefix(prefix))
                purged = await self._source.broker.purge(queue(function))
                return json_response(200, {"purged": purged})
        raise Problem(422, "only inboxes and queues of dead letters are purged here")

    async def list_audited(self, _: Asked) -> BytesResponse:
        """List the latest changes that were asked for here."""
        return json_response(200, {"entries": list(reversed(self._gate.audited))})


def _authenticator(
    settings: Settings, clock: Clock, tasks: asyncio.TaskGroup, login: Login | None
) -> Authenticator | None:
    """Build what knows who asks: by a session, or as at the other APIs."""
    others = build_authenticator(settings, clock, tasks)
    if login is None:
        return others
    known = (login.authenticator, others) if others else (login.authenticator,)
    return AnyOf((*known, LoginWanted()))


@asynccontextmanager
async def console_routes(
    source: Source,
    settings: Settings,
    options: ConsoleOptions,
    tasks: asyncio.TaskGroup,
    login: Login | None = None,
) -> AsyncGenerator[tuple[Sequence[BuiltinRoute], Watched]]:
    """Yield the routes of the console and what its streams watch, while entered.

    `settings` say where it is served, who may use it, and in which store its history is; `tasks`
    fetch an issuer's keys. `login` is what people log in by, if they can. Raises SettingsError for
    a store that can be none.
    """
    guard = ApiGuard(settings, _authenticator(settings, source.clock, tasks, login))
    gate = Gate(guard, body_limit(settings), read_only=options.read_only)
    if login is not None:
        gate.offer_login(login.hint, login.authenticator.lasts)
    recorded = Recorded(options.list_recorded, source.clock)
    async with (
        # Opened first, and so closed last: what is seen until the end is kept.
        open_history(settings, source.clock) as history,
        watched(MeshState(source, recorded, history, options.more), source.clock) as state,
    ):
        api = ConsoleApi(source, state, gate, settings, options.mode)
        failures = FailuresApi(source, recorded)
        letters = f"{API}/failures/{{function}}"
        answers: Sequence[tuple[str, str, Scope, str, Answer]] = (
            ("GET", f"{API}/me", "read", "look", api.show_me),
            ("GET", f"{API}/state", "read", "look at the state", api.show_state),
            ("GET", f"{API}/events", "read", "watch", api.stream),
            ("GET", f"{API}/functions/{{name}}", "read", "show", api.show_function),
            ("POST", f"{API}/functions/{{name}}/invoke", "invoke", "invoke", api.invoke),
            ("POST", f"{API}/invocations/{{id}}/replay", "invoke", "replay", api.replay),
            ("GET", f"{API}/failures", "read", "count dead letters", failures.summarize),
            ("GET", letters, "read", "list the dead letters of", failures.list),
            ("POST", f"{letters}/retry", "manage", "retry dead letters of", failures.retry),
            (
                "POST",
                f"{letters}/{{id}}/retry",
                "manage",
                "retry an edited copy of a dead letter of",
                failures.retry_edited,
            ),
            ("POST", f"{letters}/discard", "manage", "discard dead letters of", failures.discard),
            ("GET", f"{API}/resolved", "read", "list what is resolved", failures.list_resolved),
            ("POST", f"{API}/queues/{{name}}/purge", "manage", "purge", api.purge),
            ("GET", f"{API}/audit", "read", "list what was done", api.list_audited),
            *(
                (method, f"{API}/{path}", scope, verb, answer)
                for each in (
                    InvocationsApi(source, history),
                    InstancesApi(source),
                    TimersApi(source),
                    ExecutionsApi(source),
                    FindingsApi(options.examine, source.clock),
                )
                for method, path, scope, verb, answer in each.routes()
            ),
        )
        routes = [
            BuiltinRoute(method, path, gate.guarded(scope, verb, answer))
            for method, path, scope, verb, answer in answers
        ]
        yield [*routes, *(login.routes() if login else ()), *page_routes()], state
