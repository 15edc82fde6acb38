"""The delay ladder, walked by the rules of topic exchanges."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.brokers.rabbitmq.declarations import (
    BindingDeclaration,
    ExchangeDeclaration,
    QueueDeclaration,
)
from eventmesh.brokers.rabbitmq.delays import (
    DUE,
    LEVELS,
    LOST,
    MAX_DELAY,
    UNIT,
    DelayLadder,
    delayed_route,
    event_binding,
    ladder,
    queue_binding,
)
from eventmesh.model.errors import BrokerUnavailable, DeclarationError, FunctionNotFound
from eventmesh.model.event import matches
from eventmesh.model.topology import (
    Route,
    broadcast,
    inbox,
    named,
    to_function,
    to_queue,
    to_subscribers,
)

INBOX = to_function("shop.place")
LONGEST_FUNCTION = f"{'s' * 63}.{'f' * 100}"


class Walk:
    """A message's way through declared exchanges and queues, and how long it takes."""

    def __init__(self, declarations):
        self._bindings = [one for one in declarations if isinstance(one, BindingDeclaration)]
        self._queues = {
            one.name: one.arguments for one in declarations if isinstance(one, QueueDeclaration)
        }

    def end(self, route):
        """Where the message ends, and after how many milliseconds."""
        exchange, waited = route.exchange, 0
        while True:
            (binding,) = [
                one
                for one in self._bindings
                if one.source == exchange and matches(one.key, route.key)
            ] or [None]
            if binding is None:
                return exchange, waited
            exchange = binding.destination
            if binding.to == "queue":
                arguments = self._queues.get(exchange)
                if arguments is None or "x-message-ttl" not in arguments:
                    return exchange, waited
                waited += arguments["x-message-ttl"]
                exchange = arguments["x-dead-letter-exchange"]


def all_levels():
    return list(ladder(LEVELS))


@given(st.floats(min_value=0.001, max_value=MAX_DELAY))
def test_a_message_waits_for_its_delay_rounded_up(delay):
    walk = Walk([*all_levels(), queue_binding(INBOX.key)])
    end, waited = walk.end(delayed_route(INBOX, delay))
    assert end == inbox("shop.place").name
    assert delay - 1e-6 <= waited / 1000 < delay + UNIT + 1e-6


@pytest.mark.parametrize(
    ("delay", "units"),
    [(0.1, 1), (0.3, 3), (0.7, 7), (0.71, 8), (1, 10), (0.0001, 1), (86400, 864000)],
)
def test_whole_units_are_not_rounded(delay, units):
    walk = Walk(all_levels())
    assert walk.end(delayed_route(INBOX, delay)) == (DUE, units * 100)


@given(st.integers(min_value=1, max_value=2**LEVELS - 1))
def test_only_the_levels_up_to_its_own_are_needed(units):
    levels = units.bit_length()
    walk = Walk(list(ladder(levels)))
    assert walk.end(delayed_route(INBOX, units * UNIT)) == (DUE, units * 100)


def test_each_thing_comes_after_what_it_needs():
    there = set()
    for declaration in all_levels():
        if isinstance(declaration, BindingDeclaration):
            assert {declaration.source, declaration.destination} <= there
        else:
            there.add(declaration.name)
            dead_letters_to = (declaration.arguments or {}).get("x-dead-letter-exchange")
            assert dead_letters_to is None or dead_letters_to in there


def test_what_has_nowhere_to_go_is_kept_and_blocks_nobody():
    (due,) = [
        one for one in all_levels() if isinstance(one, ExchangeDeclaration) and one.name == DUE
    ]
    assert due.arguments == {"alternate-exchange": LOST}


def test_an_event_reaches_those_whose_patterns_fit():
    walk = Walk([*all_levels(), event_binding("one", "order.*"), event_binding("two", "#.paid")])
    assert walk.end(delayed_route(to_subscribers("order.placed"), 5))[0] == "one"
    assert walk.end(delayed_route(to_subscribers("invoice.sent.paid"), 5))[0] == "two"
    assert walk.end(delayed_route(to_subscribers("invoice.sent"), 5))[0] == DUE


def test_an_event_is_not_taken_for_a_queue_of_its_name():
    walk = Walk([*all_levels(), queue_binding("order.placed")])
    assert walk.end(delayed_route(to_subscribers("order.placed"), 5))[0] == DUE
    assert walk.end(delayed_route(to_queue(named("order.placed")), 5))[0] == "order.placed"


@pytest.mark.parametrize("name", ["#", "a.#.b", "a#b", "a b", "23"])
def test_a_queue_may_be_called_like_a_wildcard(name):
    walk = Walk([*all_levels(), queue_binding(name)])
    assert walk.end(delayed_route(to_queue(named(name)), 1))[0] == name
    assert walk.end(delayed_route(to_queue(named("a.other")), 1))[0] == DUE


def test_its_level_is_mandatory_whatever_the_end_is():
    assert delayed_route(INBOX, 1).mandatory
    assert delayed_route(to_subscribers("order.placed"), 1).mandatory
    assert delayed_route(INBOX, 1).name == "shop.place"


@pytest.mark.parametrize(
    "queue",
    [inbox(LONGEST_FUNCTION), broadcast("shop.place", "i" * 15)],
    ids=["inbox", "broadcast"],
)
def test_the_longest_names_of_our_own_can_be_delayed(queue):
    assert len(delayed_route(to_queue(queue), MAX_DELAY).key) <= 255


def test_a_longer_name_is_refused_with_advice():
    assert delayed_route(to_queue(named("q" * 197)), 1)
    with pytest.raises(DeclarationError, match="longer than 197 bytes"):
        delayed_route(to_queue(named("q" * 198)), 1)


def test_a_pattern_that_is_too_long_to_be_delayed_is_refused():
    assert event_binding("q", "p" * 197)
    with pytest.raises(DeclarationError, match="197 bytes at most"):
        event_binding("q", "p" * 198)


@pytest.mark.parametrize("delay", [MAX_DELAY + UNIT, 1e12])
def test_a_delay_over_the_longest_is_refused(delay):
    with pytest.raises(DeclarationError, match="310 days"):
        delayed_route(INBOX, delay)


class Declarer:
    """Notes what is declared; fails where told so."""

    def __init__(self):
        self.connection_generation = 0
        self.made = []
        self.fault = None

    async def carry_out(self, declarations):
        if self.fault is not None:
            raise self.fault
        self.made.append(list(declarations))


@pytest.fixture
def declarer():
    return Declarer()


@pytest.fixture
def delays(declarer):
    return DelayLadder(declarer)


async def test_what_is_needed_is_made_once(delays, declarer):
    for _ in range(3):
        assert await delays.ensure(INBOX, 5) == delayed_route(INBOX, 5)
    assert declarer.made == [list(ladder(6)), [queue_binding(INBOX.key)]]


async def test_more_levels_are_made_when_they_are_needed(delays, declarer):
    for delay in (0.1, 5, 1):
        await delays.ensure(INBOX, delay)
    assert [made for made in declarer.made if len(made) > 1] == [list(ladder(1)), list(ladder(6))]


async def test_an_event_needs_no_binding_of_its_own(delays, declarer):
    await delays.ensure(to_subscribers("order.placed"), 0.1)
    assert declarer.made == [list(ladder(1))]


async def test_all_is_made_again_after_a_connection_was_lost(delays, declarer):
    await delays.ensure(INBOX, 5)
    declarer.connection_generation += 1
    await delays.ensure(INBOX, 5)
    assert declarer.made[:2] == declarer.made[2:]


async def test_all_is_made_again_when_told_that_it_is_gone(delays, declarer):
    await delays.ensure(INBOX, 5)
    delays.forget()
    await delays.ensure(INBOX, 5)
    assert declarer.made[:2] == declarer.made[2:]


async def test_a_failure_is_not_remembered_as_done(delays, declarer):
    declarer.fault = BrokerUnavailable("away")
    with pytest.raises(BrokerUnavailable):
        await delays.ensure(INBOX, 5)
    declarer.fault = None
    await delays.ensure(INBOX, 5)
    assert len(declarer.made) == 2


async def test_a_queue_that_is_not_there_is_called_what_the_user_calls_it(delays, declarer):
    declarer.fault = FunctionNotFound(INBOX.key)
    with pytest.raises(FunctionNotFound) as raised:
        await delays.ensure(INBOX, 5)
    assert raised.value.name == "shop.place"


async def test_a_queue_that_need_not_be_there_may_be_missing(delays, declarer):
    declarer.fault = FunctionNotFound(INBOX.key)
    route = Route("", INBOX.key, mandatory=False)
    assert await delays.ensure(route, 5) == delayed_route(route, 5)


def test_the_longest_delay_is_what_all_levels_make():
    assert math.isclose(MAX_DELAY, sum(2**level for level in range(LEVELS)) * UNIT)
