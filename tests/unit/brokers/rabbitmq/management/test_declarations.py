"""From queues to declarations that RabbitMQ 3.10 to 4.3 take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.brokers.rabbitmq.access.names import binding_key
from eventmesh.brokers.rabbitmq.declarations import (
    ForeignQueue,
    QueueDeclaration,
    Server,
    queue_arguments,
    queue_declarations,
)
from eventmesh.engine.settlement import MAX_CRASHES
from eventmesh.model.event import matches
from eventmesh.model.topology import (
    broadcast,
    dead_letters,
    inbox,
    named,
    presence_queue,
    rpc_queue,
)

ALL = [
    inbox("shop.place"),
    rpc_queue("shop.place", 100),
    dead_letters("shop.place"),
    named("invoices"),
    broadcast("shop.place", "i1"),
    presence_queue("i1", "ps"),
]


@pytest.mark.parametrize("queue", ALL, ids=lambda queue: queue.kind)
def test_each_kind_says_what_it_is_and_has_a_bound(queue):
    arguments = queue_arguments(queue)
    assert arguments["x-queue-type"] in ("quorum", "classic")
    assert arguments["x-max-length"] >= 1


@pytest.mark.parametrize("queue", ALL, ids=lambda queue: queue.kind)
def test_nothing_is_asked_for_that_some_version_refuses(queue):
    assert not queue_arguments(queue).keys() & {"x-queue-mode", "x-queue-version"}


@pytest.mark.parametrize("queue", ALL, ids=lambda queue: queue.kind)
def test_quorum_queues_say_their_delivery_limit(queue):
    arguments = queue_arguments(queue)
    quorum = arguments["x-queue-type"] == "quorum"
    assert quorum == (arguments.get("x-delivery-limit", 0) > 3 * MAX_CRASHES)


@pytest.mark.parametrize("version", [(3, 10, 8), (4, 3, 0)], ids=str)
@pytest.mark.parametrize("queue", ALL, ids=lambda queue: queue.kind)
def test_on_a_cluster_every_queue_outlives_a_node(queue, version):
    arguments = queue_arguments(queue, Server(version, cluster=True))
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-queue-leader-locator"] == "balanced"
    alone = queue_arguments(queue, Server(version))
    for same in ("x-expires", "x-max-length", "x-overflow"):
        assert arguments.get(same) == alone.get(same)


@pytest.mark.parametrize("queue", ALL, ids=lambda queue: queue.kind)
def test_what_is_unacked_stays_so_where_the_version_has_a_limit(queue):
    assert queue_arguments(queue, Server((4, 2, 1)))["x-consumer-timeout"] == 7 * 24 * 3_600_000
    newer = queue_arguments(queue, Server((4, 3, 0)))
    # From 4.3 on classic queues refuse it.
    assert ("x-consumer-timeout" in newer) == (newer["x-queue-type"] == "quorum")


def test_an_inbox_sets_messages_aside_without_losing_them():
    arguments = queue_arguments(inbox("shop.place"))
    assert arguments["x-dead-letter-exchange"] == ""
    assert arguments["x-dead-letter-routing-key"] == dead_letters("shop.place").name
    # At least once needs a queue that rejects what is too much.
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"


def test_an_inbox_comes_after_the_queue_of_its_dead_letters():
    names = [declaration.name for declaration in queue_declarations(inbox("shop.place"))]
    assert names == ["em.dead.shop.place", "em.inbox.shop.place"]


def test_a_line_without_places_still_takes_what_a_consumer_waits_for():
    assert queue_arguments(rpc_queue("shop.place", 0))["x-max-length"] == 1


def test_the_length_of_a_line_is_how_many_wait_in_it():
    assert queue_arguments(rpc_queue("shop.place", 7))["x-max-length"] == 7


@pytest.mark.parametrize("queue", ALL[4:], ids=lambda queue: queue.kind)
def test_a_slow_instance_holds_up_no_publisher(queue):
    assert queue_arguments(queue)["x-overflow"] == "drop-head"


def test_a_queue_of_another_system_is_only_looked_for():
    assert list(queue_declarations(named("theirs", declare=False))) == [ForeignQueue("theirs")]
    assert isinstance(next(queue_declarations(named("ours"))), QueueDeclaration)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("order.placed", "order.placed"),
        ("order.*", "order.*"),
        ("order.*.*", "order.*.*"),
        ("#.#.#", "#"),
        ("#.*.#.*", "*.*.#"),
        ("a.#.#.b.#.*.#", "a.#.b.*.#"),
    ],
)
def test_wildcards_in_a_row_are_put_as_briefly_as_they_can_be(pattern, key):
    assert binding_key(pattern) == key


WORDS = st.sampled_from(["a", "b"])
PATTERN_WORDS = st.sampled_from(["a", "b", "*", "#"])


@given(
    pattern=st.lists(PATTERN_WORDS, min_size=1, max_size=7).map(".".join),
    type=st.lists(WORDS, min_size=1, max_size=7).map(".".join),
)
def test_a_binding_key_fits_the_same_events_as_its_pattern(pattern, type):
    assert matches(binding_key(pattern), type) == matches(pattern, type)
