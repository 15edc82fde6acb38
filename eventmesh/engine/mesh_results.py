"""Asks the services of a mesh what became of asynchronous invocations, and cancels them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import orjson

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock
from eventmesh.engine.codecs.envelope import result_from, to_fault
from eventmesh.engine.codecs.json import decode
from eventmesh.engine.codecs.trust import gateways_of
from eventmesh.engine.results import (
    RESULTS_REQUEST,
    Results,
    StoredResult,
    result_from_members,
    result_members,
)
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.engine.upkeep.dead_letters import ListFunctions
from eventmesh.model.errors import (
    AccessDenied,
    DeclarationError,
    FunctionNotFound,
    InvocationError,
    PayloadInvalid,
)
from eventmesh.model.ids import check_id, new_id
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import check_function, to_rpc
from eventmesh.model.value import value

ASK_SECONDS: Final = 10.0
"""How long a service may take to answer."""

MAX_ASKED: Final = 20
"""Services that are asked at the same time."""

Verb: TypeAlias = Literal["find", "cancel"]

_NOTHING: Final[Mapping[str, Results]] = {}


@value
class Answer:
    """What a service knows: nothing of any invocation, unless it is `stored`."""

    stored: bool
    results: Sequence[StoredResult] = ()


class ResultAccess(Protocol):
    """What became of the asynchronous invocations of a mesh.

    Both raise BrokerUnavailable, StoreUnavailable and AccessDenied, and FunctionNotFound for a
    function whose invocations nothing remembers: its service has no store or does not run, or it
    takes batches.
    """

    async def find(self, id: str, function: str = "") -> Sequence[StoredResult]:
        """Return what is known of an id: of one function, or of all that had it."""
        ...

    async def cancel(self, id: str, function: str = "") -> Sequence[StoredResult]:
        """Cancel what has that id and has not ended, and return what is known then.

        With a function, it is cancelled too if it is not known yet.
        """
        ...


class MeshResults:
    """The results of a mesh, over its broker. See `ResultAccess`."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        functions: ListFunctions,
        local: Mapping[str, Results] = _NOTHING,
    ) -> None:
        """`local` is by function: what this process asks without its broker."""
        self._broker = broker
        self._clock = clock
        self._functions = functions
        self._local = local

    async def find(self, id: str, function: str = "") -> Sequence[StoredResult]:
        return await self._ask_all("find", id, function)

    async def cancel(self, id: str, function: str = "") -> Sequence[StoredResult]:
        if function:
            return await self._ask_all("cancel", id, function)
        found = [each for each in await self.find(id) if not each.ended]
        return [each for one in found for each in await self.cancel(id, one.function)]

    async def _ask_all(self, verb: Verb, id: str, function: str) -> Sequence[StoredResult]:
        check_id(id)
        if function:
            answer = await self.ask(verb, check_function(function), function, id)
            if not answer.stored:
                raise not_stored(function)
            return answer.results
        # Any function of a service answers for all of it.
        services = {name.partition(".")[0]: name for name in sorted(await self._functions())}
        limit = asyncio.Semaphore(MAX_ASKED)

        async def ask(name: str) -> Answer:
            async with limit:
                try:
                    return await self.ask(verb, name, "", id)
                except FunctionNotFound:
                    return Answer(stored=False)  # It has stopped since.

        answers = await asyncio.gather(*map(ask, services.values()))
        return [result for answer in answers for result in answer.results]

    async def ask(self, verb: Verb, asked: str, function: str, id: str) -> Answer:
        """Ask the service of one function: of that function, or "" for all it has."""
        service = asked.partition(".")[0]
        local = _find_results(self._local, service, function)
        if local is not None:
            return await _answer(local, verb, service, function, id)
        request = Message(
            orjson.dumps({"verb": verb, "function": function, "id": id}),
            new_id(),
            self._clock.now(),
            deadline=self._clock.monotonic() + ASK_SECONDS,
            type=RESULTS_REQUEST,
        )
        result = result_from(await self._broker.request(to_rpc(asked), request))
        if result.error is not None:
            raise to_fault(result.error)
        return _load_answer(result.body)


def not_stored(function: str) -> FunctionNotFound:
    """Return what to raise where nothing remembers the invocations of a function."""
    return FunctionNotFound(
        f"stored result of {function}",
        "its service has no store, or it takes batches, whose items are not remembered",
    )


def answer_requests(
    function: FunctionSpec, context: SourceContext
) -> Callable[[Message], Awaitable[Result]]:
    """Build what answers, for the service of that function, what `MeshResults` asks.

    Where each service has a user of the broker, that of a gateway may ask, and the service itself.
    """
    gateways = gateways_of(context.settings)
    service = function.service

    async def answer(message: Message) -> Result:
        try:
            if gateways is not None and message.sender not in (*gateways, service):
                raise AccessDenied(
                    f"{message.sender or 'nobody'} may not ask for results of {service}: name the "
                    "user in EVENTMESH_GATEWAYS"
                )
            verb, name, id = _read_request(message.body, service)
            results = _find_results(context.results, service, name)
            if results is None:
                return _dump_answer(Answer(stored=False))
            return _dump_answer(await _answer(results, verb, service, name, id))
        except InvocationError as error:
            return Result(b"", error=error)

    return answer


def _find_results(results: Mapping[str, Results], service: str, function: str) -> Results | None:
    if function:
        return results.get(function)
    names = (name for name in results if name.startswith(f"{service}."))
    return next((results[name] for name in names), None)


async def _answer(results: Results, verb: Verb, service: str, function: str, id: str) -> Answer:
    if verb == "cancel":
        return Answer(stored=True, results=[await results.cancel(function, id)])
    return Answer(stored=True, results=await results.find(service, id, function))


def _read_request(body: bytes, service: str) -> tuple[Verb, str, str]:
    """Read a request. Raises PayloadInvalid for what is none: any process may send it."""
    given: Any = decode(body, "the request")
    try:
        verb, function, id = given["verb"], given["function"], given["id"]
        if verb not in ("find", "cancel") or not isinstance(id, str):
            raise ValueError(verb)
        if (function or verb == "cancel") and not function.startswith(f"{service}."):
            raise ValueError(function)
        check_id(id)
    except (LookupError, TypeError, ValueError, AttributeError, DeclarationError):
        raise PayloadInvalid("this is no request for results") from None
    return verb, str(function), id


def _dump_answer(answer: Answer) -> Result:
    members = [result_members(result) for result in answer.results]
    return Result(orjson.dumps({"stored": answer.stored, "results": members}))


def _load_answer(body: bytes) -> Answer:
    given: Any = decode(body, "the answer")
    try:
        results = [result_from_members(members) for members in given["results"]]
        return Answer(stored=bool(given["stored"]), results=results)
    except (LookupError, TypeError, ValueError):
        raise PayloadInvalid(
            "the service's answer cannot be read: it has another version of eventmesh"
        ) from None
