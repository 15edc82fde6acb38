"""Handlers see who called first, over every hop."""

import pytest

from eventmesh import Context, DeclarationError, Retry, Service, on
from eventmesh.auth import Identity
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.model.access.identity import ANONYMOUS
from eventmesh.model.message import Message
from eventmesh.model.topology import named, to_function, to_queue, to_rpc

ADA = Identity("jwt:ada", "jwt", frozenset(("orders:read",)), {"iss": "https://id.example"})


@pytest.fixture
def seen():
    return {}


@pytest.fixture
def app(seen):
    app = Service("app")

    @app.function(on.queue("orders", batch=2), name="batch")
    async def take(items: list[int], identity: Identity) -> None:
        seen["batch"] = identity

    @app.function
    async def first(identity: Identity, ctx: Context) -> None:
        seen["first"] = identity
        assert ctx.identity == identity
        await ctx.invoke("app.invoked")
        await ctx.send("app.sent")
        await ctx.emit("called")

    @app.function
    async def invoked(identity: Identity | None = None) -> None:
        seen["invoked"] = identity

    @app.function(retry=Retry(2, initial=1, jitter="none"))
    async def sent(ctx: Context) -> None:
        seen.setdefault("sent", []).append(ctx.identity)
        if len(seen["sent"]) < 3:
            raise ZeroDivisionError

    @app.function(on.event("called"))
    async def emitted(ctx: Context) -> None:
        seen["emitted"] = ctx.identity

    return app


async def test_through_calls_events_retries_and_redrives(app, seen, start, broker, clock):
    async with start(app):
        request = Message(
            b"", "r-1", clock.now(), deadline=clock.now() + 5, principal=encode_identity(ADA)
        )
        await broker.request(to_rpc("app.first"), request)
        await clock.advance(1)
        assert await BrokerDeadLetters(broker, clock).redrive("app.sent") == 1
        await clock.settle()
    assert seen == {"first": ADA, "invoked": ADA, "sent": [ADA, ADA, ADA], "emitted": ADA}


@pytest.mark.parametrize(("second", "who"), [(ADA, ADA), (ANONYMOUS, ANONYMOUS)])
async def test_a_batch_is_of_the_one_who_sent_all_of_it(
    app, seen, start, broker, clock, second, who
):
    async with start(app):
        for identity in (ADA, second):
            message = Message(b"1", "a", clock.now(), principal=encode_identity(identity))
            await broker.publish(to_queue(named("orders")), message)
        await clock.settle()
    assert seen["batch"] == who


async def test_hostile_text_is_nobody(app, seen, start, broker, clock):
    async with start(app):
        hostile = Message(b"", "a", clock.now(), principal='{"p": ["jwt:ada"]}')
        await broker.publish(to_function("app.first"), hostile)
        await clock.settle()
    assert seen["first"] == ANONYMOUS


def test_it_is_asked_for_once_and_alone():
    app = Service("app")
    with pytest.raises(DeclarationError, match="asks for the identity 2 times"):

        @app.function
        def twice(a: Identity, b: Identity) -> None: ...

    with pytest.raises(DeclarationError, match="Identity cannot be a part of another type"):

        @app.function
        def many(a: list[Identity]) -> None: ...
