"""No hop of an invocation loses a field: a new field fails here until every hop carries it."""

from dataclasses import fields, replace
from unittest.mock import Mock

import pytest

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.brokers.rabbitmq.amqp.properties import (
    decode_properties,
    encode_properties,
    encode_user,
)
from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.codecs.envelope import invocation_from, message_from
from eventmesh.engine.context import Context
from eventmesh.engine.settlement import (
    FIRST_FAILURE,
    ScheduleRetry,
    build_retry,
    dead_letter,
    reset_for_redrive,
    truncated,
)
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.gateway.relay import encode_request
from eventmesh.host import host_services
from eventmesh.http.protocol import RELAYED_REQUEST
from eventmesh.middleware.deadline import enforce_deadline
from eventmesh.model.errors import FunctionError, PayloadTooLarge
from eventmesh.model.invocation import (
    ASYNC,
    SYNC,
    Batch,
    HttpRequest,
    Invocation,
    RouteTemplate,
    make_invocation,
)
from eventmesh.model.invocation.log_tail import LogTail
from eventmesh.model.message import Message, make_message
from eventmesh.model.result import Result
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox, named, to_function, to_queue, to_rpc
from eventmesh.service import Service
from eventmesh.testing.clock import ManualClock
from eventmesh.triggers import on

NOW = 1_700_000_000.0
FAILURE = FunctionError("ValueError", "no")
TWICE = Retry(2, initial=1, jitter="none")

MESSAGE = {
    "body": b"[1]",
    "id": "id-1",
    "timestamp": NOW - 5.25,
    "content_type": "text/plain",
    "headers": {"x-own": "grüße", "traceparent": "00-1"},
    "trigger": "queue",
    "attempt": 3,
    "deadline": NOW + 60.5,
    "caller": "shop.pay",
    "type": "order.placed",
    "reply_to": "replies",
    "correlation_id": "c-1",
    "principal": "user:ada",
    "redeliveries": 4,
    "sender": "shop",
}
INVOCATION = {
    "function": "orders.place",
    "id": "id-1",
    "payload": b"[1]",
    "created": NOW - 5.25,
    "mode": SYNC,
    "content_type": "text/plain",
    "headers": {"x-own": "grüße", "traceparent": "00-1"},
    "trigger": "queue",
    "attempt": 3,
    "deadline": NOW + 60.5,
    "caller": "shop.pay",
    "type": "order.placed",
    "http": HttpRequest(
        RouteTemplate("POST /orders", (), has_body=True), "POST", "/orders", {}, {}, {}
    ),
    "batch": Batch([b"1"]),
    "principal": "user:ada",
    "delivery": Mock(stale=False),
    "claim": Mock(),
    "redeliveries": 4,
    "wants_stream": True,
    "log_tail": LogTail(),
}
SAME = {  # Of an invocation, and of the message that carries it.
    "id": "id",
    "payload": "body",
    "created": "timestamp",
    "content_type": "content_type",
    "headers": "headers",
    "trigger": "trigger",
    "attempt": "attempt",
    "deadline": "deadline",
    "caller": "caller",
    "type": "type",
    "principal": "principal",
    "redeliveries": "redeliveries",
}


def changed(before, after):
    """The names of the fields that differ."""
    return {
        one.name for one in fields(before) if getattr(before, one.name) != getattr(after, one.name)
    }


@pytest.fixture
def message():
    return Message(**MESSAGE)


@pytest.fixture
def invocation():
    return Invocation(**INVOCATION)


@pytest.mark.parametrize(("cls", "sample"), [(Message, MESSAGE), (Invocation, INVOCATION)])
def test_the_samples_have_every_field_and_none_at_its_default(cls, sample):
    assert sample.keys() == {one.name for one in fields(cls)}
    assert [one.name for one in fields(cls) if one.default == sample[one.name]] == []


@pytest.mark.parametrize(
    ("make", "cls", "sample"),
    [(make_message, Message, MESSAGE), (make_invocation, Invocation, INVOCATION)],
)
def test_the_quick_constructors_set_every_field(make, cls, sample):
    assert make(**sample) == cls(**sample)


class TestInvocations:
    """From a message to its invocation, and what may happen to that."""

    def test_every_field_has_its_counterpart_in_a_message(self):
        # The function is the queue's, the mode its kind; HTTP and batches are not carried whole.
        # The delivery is this process's own, and so is who takes a stream and a log.
        own = {"delivery", "claim", "wants_stream", "log_tail"}
        whole = {"function", "mode", "http", "batch"}
        assert {one.name for one in fields(Invocation)} - SAME.keys() == whole | own
        # Where a reply goes and whose connection it came from are the broker's own business.
        assert {one.name for one in fields(Message)} - set(SAME.values()) == {
            "reply_to",
            "correlation_id",
            "sender",
        }

    def test_a_message_makes_an_invocation(self, message):
        made = invocation_from(message, "orders.place", ASYNC)
        assert (made.function, made.mode) == ("orders.place", ASYNC)
        for ours, theirs in SAME.items():
            assert getattr(made, ours) == getattr(message, theirs), ours

    def test_an_invocation_is_stored_as_a_message(self, invocation):
        stored = message_from(invocation, invocation.payload)
        for ours, theirs in SAME.items():
            # Nobody waits for what is stored.
            expected = None if ours == "deadline" else getattr(invocation, ours)
            assert getattr(stored, theirs) == expected, ours

    async def test_a_deadline_changes_the_deadline_alone(self, invocation, clock):
        seen = []

        async def handler(invocation):
            seen.append(invocation)
            return Result()

        invocation = replace(invocation, deadline=clock.now() + 60)
        await enforce_deadline(clock, 1.0)(handler)(invocation)
        assert changed(invocation, seen[0]) == {"deadline"}


class TestBrokers:
    """What is published is what is delivered."""

    @pytest.mark.parametrize("durable", [True, False])
    def test_amqp(self, message, durable):
        user = encode_user(message.sender)
        properties = encode_properties(message, durable=durable, user=user, expiration=60_500)
        received = decode_properties(properties, message.body, ManualClock(NOW), redelivered=False)
        assert changed(message, received.message) == set()

    @pytest.mark.parametrize("delay", [0.0, 5.0])
    async def test_the_embedded_broker(self, message, clock, delay):
        queue = inbox("orders.place")
        async with MemoryBroker(clock) as broker:
            await broker.declare([queue])
            await broker.publish(to_queue(queue), message, delay=delay)
            await clock.advance(delay)
            delivery = await broker.get(queue)
            delivery.requeue()
            await clock.settle()
            again = await broker.get(queue)
        # Nobody waits for what is stored.
        assert changed(message, delivery.message) == {"deadline"}
        assert changed(message, again.message) == {"deadline"}

    async def test_a_request_to_the_embedded_broker(self, message, clock):
        queue = inbox("orders.place")
        requests = []

        def answer(delivery):
            requests.append(delivery.message)
            broker.reply(delivery.message, replace(message, body=b"2"))
            delivery.ack()

        message = replace(message, deadline=clock.now() + 1)
        async with MemoryBroker(clock) as broker, broker.consume(queue, answer, prefetch=1):
            reply = await broker.request(to_queue(queue), message)
        assert changed(message, requests[0]) == {"reply_to", "correlation_id"}
        assert changed(message, reply) == {"body"}

    @pytest.mark.parametrize(
        ("delay", "differ"), [(0.0, {"deadline"}), (5.0, {"timestamp", "deadline"})]
    )
    async def test_what_is_sent_later_counts_from_when_it_is_due(
        self, message, clock, delay, differ
    ):
        async with MemoryBroker(clock) as broker:
            await broker.declare([inbox("orders.place")])
            await BrokerTransport(broker).send("orders.place", message, delay)
            await clock.advance(delay)
            delivery = await broker.get(inbox("orders.place"))
        assert changed(message, delivery.message) == differ


class TestSettlements:
    """Retries, dead letters and redrives change what they must."""

    @pytest.mark.parametrize("spent", [True, False])
    def test_another_attempt(self, message, spent):
        again = build_retry(message, ScheduleRetry(1.0, spent), NOW)
        assert changed(message, again) == {"headers"} | (
            {"attempt", "redeliveries"} if spent else set()
        )
        assert again.headers == {**message.headers, FIRST_FAILURE: f"{NOW:.3f}"}

    def test_a_dead_letter_leaves_out_what_belongs_to_a_reply(self, message):
        dead = dead_letter(
            message, "orders.place", FunctionError("ValueError", "no"), "it failed", NOW
        )
        assert changed(message, dead) == {"headers", "reply_to", "correlation_id"}
        assert message.headers.items() <= dead.headers.items()

    def test_a_dead_letter_that_is_kept_in_part(self, message):
        dead = dead_letter(message, "orders.place", None, "it failed", NOW)
        kept = truncated(dead, PayloadTooLarge(2, 1))
        assert changed(dead, kept) == {"body", "headers", "caller", "principal"}

    def test_a_redrive_starts_afresh(self, message):
        dead = dead_letter(
            message, "orders.place", FunctionError("ValueError", "no"), "it failed", NOW
        )
        fresh = reset_for_redrive(dead, NOW)
        assert changed(message, fresh) == {
            "attempt",
            "redeliveries",
            "timestamp",
            "reply_to",
            "correlation_id",
        }

    async def test_a_redrive_over_the_broker(self, message, clock):
        queue = dead_letters("orders.place")
        async with MemoryBroker(clock) as broker:
            await broker.declare([queue, inbox("orders.place")])
            await broker.publish(to_queue(queue), message)
            assert await BrokerDeadLetters(broker, clock).redrive("orders.place") == 1
            delivery = await broker.get(inbox("orders.place"))
        differ = {"attempt", "deadline", "redeliveries", "timestamp"}
        assert changed(message, delivery.message) == differ


class TestServices:
    """A function's runs over the embedded broker: each source, and what a run causes."""

    @pytest.fixture
    def stored(self, message, clock):
        """The message as one stores it, not older than a function takes it."""
        return replace(
            message, timestamp=clock.now(), deadline=clock.now() + 60, attempt=1, redeliveries=0
        )

    @pytest.fixture
    def app(self):
        return Service("app")

    async def test_an_inbox(self, app, start, broker, clock, stored):
        seen = []

        @app.function(retry=TWICE, timeout=None)
        async def fail(ctx: Context) -> None:
            seen.append(ctx.invocation)
            raise ZeroDivisionError

        async with start(app):
            await broker.publish(to_function("app.fail"), stored)
            await clock.advance(1)
        dead = await broker.get(dead_letters("app.fail"))
        assert changed(*seen) == {"attempt", "headers", "delivery"}
        assert changed(stored, dead.message) == {
            "attempt",
            "deadline",
            "headers",
            "reply_to",
            "correlation_id",
        }

    async def test_a_queue(self, app, start, broker, clock, stored):
        seen = []

        @app.function(on.queue("orders"), retry=TWICE, timeout=None)
        async def fail(ctx: Context) -> None:
            seen.append(ctx.invocation)
            raise ZeroDivisionError

        async with start(app):
            old = replace(stored, timestamp=clock.now() - 3600)
            await broker.publish(to_queue(named("orders")), old)
            await clock.advance(1)
        # What waits in a queue may be old: its age counts from its first run.
        assert changed(*seen) == {"attempt", "created", "headers", "delivery"}

    @pytest.mark.parametrize(("other", "principal"), [("user:ada", "user:ada"), ("user:bob", "")])
    async def test_a_batch_has_the_principal_that_all_share(
        self, app, start, broker, clock, stored, other, principal
    ):
        seen = []

        @app.function(on.queue("orders", batch=2, batch_window=1))
        async def take(items: list[int], ctx: Context) -> None:
            seen.append(ctx.invocation)

        async with start(app):
            for one in ("user:ada", other):
                item = replace(stored, body=b"1", principal=one)
                await broker.publish(to_queue(named("orders")), item)
            await clock.advance(1)
        assert [one.principal for one in seen] == [principal]

    async def test_calls_and_outcomes_have_the_principal_of_what_caused_them(
        self, app, start, broker, clock, stored
    ):
        seen = {}

        @app.function(on_success="app.told")
        async def call(ctx: Context) -> None:
            await ctx.invoke("app.invoked")
            await ctx.send("app.sent")
            await ctx.emit("called")

        def keep(ctx: Context) -> None:
            seen[ctx.function] = ctx.invocation

        app.function(name="invoked")(keep)
        app.function(name="sent")(keep)
        app.function(on.event("called"), name="emitted")(keep)
        app.function(name="told")(keep)
        async with start(app):
            await broker.publish(to_function("app.call"), stored)
            await clock.settle()
        assert {name: one.principal for name, one in seen.items()} == dict.fromkeys(
            ("app.invoked", "app.sent", "app.emitted", "app.told"), "user:ada"
        )

    async def test_a_request_that_a_gateway_passes_on(self, app, broker, clock):
        seen = []

        @app.function(on.get("/orders"))
        async def orders(ctx: Context) -> None:
            seen.append(ctx.invocation)

        request = Mock(method="GET", target="/orders", headers={}, remote="")
        message = Message(
            body=encode_request(request, orders.spec.triggers[0], {}, b""),
            id="id-1",
            timestamp=clock.now(),
            headers={"traceparent": "00-1"},
            deadline=clock.now() + 5,
            caller="shop.pay",
            type=RELAYED_REQUEST,
            principal="user:ada",
        )
        async with host_services([app], broker, Settings(), clock=clock, http=None):
            await broker.request(to_rpc("app.orders"), message)
        (invocation,) = seen
        for name, field in SAME.items():
            if name not in {"payload", "content_type", "trigger", "attempt", "type"}:
                assert getattr(invocation, name) == getattr(message, field), name
