"""The topic exchange's memory of where events go."""

from eventmesh.brokers.memory.exchange import MAX_CACHED_TYPES, TopicExchange
from eventmesh.brokers.memory.queue import MemoryQueue
from eventmesh.model.topology import named


def queue(name, clock):
    return MemoryQueue(named(name), clock, lambda: None)


def test_a_new_binding_counts_for_types_seen_before(clock):
    exchange, one, two = TopicExchange(), queue("one", clock), queue("two", clock)
    exchange.bind(one, "a.*")
    assert exchange.route("a.b") == (one,)
    exchange.bind(two, "#")
    assert exchange.route("a.b") == (one, two)


def test_a_queue_that_is_gone_gets_nothing(clock):
    exchange, one, two = TopicExchange(), queue("one", clock), queue("two", clock)
    exchange.bind(one, "a.*")
    exchange.bind(two, "a.*")
    assert exchange.route("a.b") == (one, two)
    exchange.remove(one)
    assert exchange.route("a.b") == (two,)


def test_types_without_end_are_routed_in_bounded_memory(clock):
    exchange, one = TopicExchange(), queue("one", clock)
    exchange.bind(one, "a.*")
    for number in range(2 * MAX_CACHED_TYPES + 10):
        assert exchange.route(f"a.{number}") == (one,)
        assert exchange.route.cache_info().currsize <= MAX_CACHED_TYPES


def test_a_pattern_that_is_unbound_counts_no_more_for_types_seen_before(clock):
    exchange, one = TopicExchange(), queue("one", clock)
    exchange.bind(one, "a.*")
    exchange.bind(one, "a.b")
    assert exchange.route("a.c") == (one,)
    exchange.unbind(one, "a.*")
    assert exchange.route("a.c") == ()
    assert exchange.route("a.b") == (one,)
    exchange.unbind(queue("two", clock), "a.*")
