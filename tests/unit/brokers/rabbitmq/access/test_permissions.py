"""The regular expressions of a service's user, as RabbitMQ reads them."""

import re

import pytest

from eventmesh.brokers.rabbitmq.access.definitions import password_hash
from eventmesh.brokers.rabbitmq.access.permissions import (
    Rights,
    exchanges,
    gateway_permissions,
    operator_permissions,
    permissions,
)
from eventmesh.model.errors import SettingsError

ORDERS = Rights(
    "orders",
    ("orders.place", "orders.bill"),
    queues=("paper.in",),
    foreign_queues=("theirs",),
    patterns=("payment.*", "stock.low"),
    calls=("stock.reserve", "mail.*", "queue:letters"),
    emits=("order.placed",),
)


def may(right, name, granted=ORDERS):
    """Whether RabbitMQ finds the name, which may have lines, in the expression."""
    found = getattr(permissions(granted), right)
    return re.search(found.replace(r"\z", r"\Z"), name) is not None


@pytest.mark.parametrize(
    ("right", "name"),
    [
        ("configure", "em.inbox.orders.place"),
        ("configure", "em.slots.orders.bill.3f0c9a7be112"),
        ("configure", "em.broadcast.orders.place.0123"),
        ("configure", "em.timers.orders"),
        ("configure", "em.inbox.orders.new"),
        ("configure", "paper.in"),
        ("configure", "em.delay.orders.0"),
        ("configure", "em.record.orders"),
        ("write", "em.services"),
        ("write", "em.to.inbox.stock.reserve"),
        ("write", "em.to.rpc.stock.reserve"),
        ("write", "em.to.inbox.mail.anything"),
        ("write", "em.to.queue.letters"),
        ("write", "em.to.queue.paper.in"),
        ("write", "em.to.dead.orders.place"),
        ("write", "em.event.order.placed"),
        ("write", "em.replies"),
        ("write", "em.to.nobody"),
        ("read", "em.event.stock.low"),
        ("read", "em.events"),
        ("read", "theirs"),
        ("read", "em.replies.orders.00ff"),
    ],
)
def test_granted(right, name):
    assert may(right, name)


@pytest.mark.parametrize(
    ("right", "name"),
    [
        ("configure", "em.inbox.orders-2.place"),
        ("configure", "xem.inbox.orders.place"),
        ("configure", "em.inbox.orders.place\n"),
        ("configure", "theirs"),
        ("configure", "em.to.queue.paper.in"),
        ("configure", "em.broadcast.stock.reserve.0123"),
        ("configure", "em.events"),
        ("configure", "em.record.stock"),
        ("configure", "em.event.order.placed"),
        ("configure", "em.to.inbox.orders.place"),
        ("write", "amq.default"),
        ("write", "amq.topic"),
        ("write", "em.events"),
        ("write", "em.to.inbox.stock.secret"),
        ("write", "em.to.dead.stock.reserve"),
        ("write", "em.to.inbox.stock-reserve"),
        ("write", "em.event.payment.approved"),
        ("write", "em.event.orderXplaced"),
        ("write", "em.own.stock"),
        ("write", "theirs"),
        ("read", "em.inbox.stock.reserve"),
        ("read", "em.dead.stock.reserve"),
        ("read", "em.to.inbox.stock.reserve"),
        ("read", "em.event.order.placed"),
        ("read", "em.replies.stock.00ff"),
        ("read", "em.presence.stock.asked.1"),
        ("read", "em.timers.stock"),
        ("read", "em.to.nobody"),
    ],
)
def test_not_granted(right, name):
    assert not may(right, name)


def test_patterns_are_literal_keys():
    found = re.compile(permissions(ORDERS).patterns.replace(r"\z", r"\Z"))
    assert found.search("payment.*")
    assert not any(map(found.search, ("payment.approved", "#", "*.*", "stock.low")))


def test_patterns_are_allowed_as_they_are_bound():
    found = permissions(Rights("orders", (), patterns=("payment.#.*.#",))).patterns
    assert re.search(found.replace(r"\z", r"\Z"), "payment.*.#")


def test_a_service_without_anything_gets_nothing_of_others():
    quiet = Rights("quiet", ())
    assert not may("configure", "em.inbox.", quiet)
    assert not may("read", "em.events", quiet)
    assert not may("write", "em.to.inbox.orders.place", quiet)


def test_any_number_of_functions_of_its_own_fits():
    many = Rights("orders", tuple(f"orders.function_number_{n}" for n in range(1_000)))
    assert permissions(many) == permissions(Rights("orders", ()))


@pytest.mark.parametrize("right", ["calls", "emits"])
def test_what_is_too_long_for_rabbitmq_is_refused(right):
    names = tuple(f"stock.function_number_{n}" for n in range(100))
    with pytest.raises(SettingsError, match=r"'write' has 2,\d+ bytes, and RabbitMQ 4.3 takes"):
        permissions(Rights("orders", (), **{right: names}))
    granted = permissions(Rights("orders", (), calls=(*names, "stock.*")))
    assert all(re.search(granted.write.replace(r"\z", r"\Z"), f"em.to.rpc.{n}") for n in names)


@pytest.mark.parametrize("right", ["queues", "calls"])
def test_a_queue_whose_exchange_would_have_too_long_a_name_is_refused(right):
    scheme = "queue:" if right == "calls" else ""
    fits, too_long = "q" * 243, "q" * 244
    permissions(Rights("orders", (), **{right: (scheme + fits,)}))
    with pytest.raises(SettingsError, match=r"the queue 'q+' of the service 'orders' .* 243 bytes"):
        permissions(Rights("orders", (), **{right: (scheme + too_long,)}))
    # It has no exchange: nobody of the mesh sends to it.
    permissions(Rights("orders", (), foreign_queues=("q" * 255,)))


@pytest.mark.parametrize("right", ["emits", "patterns"])
def test_an_event_type_whose_exchange_would_have_too_long_a_name_is_refused(right):
    permissions(Rights("orders", (), **{right: ("e" * 246,)}))
    with pytest.raises(SettingsError, match=r"the event type 'e+' .* 246 bytes at most"):
        permissions(Rights("orders", (), **{right: ("e" * 247,)}))


def test_a_gateway_takes_nothing_from_services():
    read = gateway_permissions("gateway").read.replace(r"\z", r"\Z")
    assert re.search(read, "em.dead.orders.place")
    assert not re.search(read, "em.inbox.orders.place")
    assert not re.search(read, "em.rpc.orders.place")
    assert not re.search(read, "em.to.inbox.orders.place")
    configure = gateway_permissions("gateway").configure.replace(r"\z", r"\Z")
    assert not re.search(configure, "em.inbox.orders.place")


def allows(permission, name):
    return re.search(permission.replace(r"\z", r"\Z"), name) is not None


def test_an_operator_deletes_and_moves_what_functions_leave_and_nothing_else():
    granted = operator_permissions("operator", [ORDERS])
    left = ("inbox.orders.place", "dead.orders.place", "record.orders", "services")
    for kind in left:
        assert allows(granted.read, f"em.{kind}")
    for kind in (*left, "rpc.orders.place", "slots.orders.place.lease", "timers.orders"):
        assert allows(granted.configure, f"em.{kind}")
    for kind in ("rpc.orders.place", "slots.orders.place", "timers.orders", "own.orders"):
        assert not allows(granted.read, f"em.{kind}")
        assert not allows(granted.write, f"em.{kind}")
    for exchange in ("em.to.inbox.orders.place", "em.event.order.placed", "em.events"):
        assert not allows(granted.configure, exchange)
    assert not allows(granted.write, "em.events")
    for queue in ORDERS.queues:
        assert allows(granted.write, queue)
        assert not allows(granted.read, queue)
        assert not allows(granted.configure, queue)
    assert not allows(granted.write, "queue.of.another.system")


def test_queues_that_an_operator_does_not_see_do_not_stop_the_export():
    queues = tuple(f"a.queue.with.a.name.{n}" for n in range(100))
    some = [Rights(f"s{n}", (), queues=queues[n * 10 : n * 10 + 10]) for n in range(10)]
    assert operator_permissions("operator", some) == operator_permissions("operator", [])


def test_exchanges_are_made_for_all():
    made, bindings = exchanges([ORDERS])
    assert made["em.to.inbox.orders.place"] == "fanout"
    assert made["em.to.queue.letters"] == "fanout"
    assert made["em.own.orders"] == "direct"
    assert ("em.event.order.placed", "em.events") in bindings
    assert "em.event.payment.*" not in made


def test_hashes_are_those_of_the_documentation():
    """The example at https://www.rabbitmq.com/docs/passwords: salt 908D C60A, "test12"."""
    assert password_hash("test12", bytes.fromhex("908dc60a")) == (
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    )
