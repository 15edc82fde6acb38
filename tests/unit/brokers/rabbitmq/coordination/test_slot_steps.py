"""What a process does about its tokens: in each state, and against a queue of tokens."""

from collections import deque
from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventmesh.brokers.rabbitmq.coordination.slot_steps import (
    SURPLUS_GRACE_SECONDS,
    Add,
    Remove,
    Return,
    SlotsState,
    TokenConsumer,
    Wait,
    next_step,
)

NOW = 100.0


def consumer(kind, since=0.0):
    """An "empty" one waits for a token, a "returning" one is to give it back."""
    made = TokenConsumer(kind)
    made.token = None if kind == "empty" else 1
    made.returning = kind == "returning"
    made.since = since
    return made


def state(kinds, wanted, surplus_since=None):
    consumers = [consumer(kind, number) for number, kind in enumerate(kinds)]
    return SlotsState(consumers, wanted, 0, 100, NOW, surplus_since)


KINDS = ("empty", "held", "returning")
STATES = [
    (kinds, wanted, surplus_since)
    for count in range(5)
    for kinds in product(KINDS, repeat=count)
    for wanted in range(6)
    for surplus_since in (None, NOW, NOW - 1)
]


def expected(kinds, wanted, surplus_since):
    """The rules one after the other, each for itself."""
    surplus = len(kinds) - wanted
    if "returning" in kinds:
        return (Remove if surplus > 0 else Return), kinds.index("returning")
    if surplus < 0:
        return Add, None
    if surplus == 0:
        return Wait, None
    if "empty" in kinds:
        return Remove, kinds.index("empty")
    if surplus_since == NOW - 1:
        return Remove, 0
    return Wait, NOW + SURPLUS_GRACE_SECONDS


def test_each_state_has_one_step():
    for kinds, wanted, surplus_since in STATES:
        now = state(kinds, wanted, surplus_since)
        kind, detail = expected(kinds, wanted, surplus_since)
        if kind is Add:
            wanted_step = Add()
        elif kind is Wait:
            wanted_step = Wait(detail)
        else:
            wanted_step = kind(now.consumers[detail])
        assert next_step(now) == wanted_step, (kinds, wanted, surplus_since)


@pytest.mark.parametrize(
    ("running", "waiting", "tokens", "surplus"),
    [(0, 0, 3, 2), (1, 1, 3, 0), (2, 5, 3, -1), (0, 9, 1, 1), (1, 0, 0, 2)],
)
def test_no_more_consumers_are_wanted_than_there_are_tokens(running, waiting, tokens, surplus):
    consumers = [consumer("held"), consumer("held")]
    assert SlotsState(consumers, running, waiting, tokens, NOW, None).surplus == surplus


def test_of_the_tokens_too_many_the_oldest_goes():
    consumers = [consumer("held", 3.0), consumer("held", 1.0), consumer("held", 2.0)]
    step = next_step(SlotsState(consumers, 1, 0, 9, NOW, NOW - 1))
    assert step == Remove(consumers[1])


class Process:
    """Carries out the steps of one process, as `RabbitSlots` does, on a queue of tokens."""

    def __init__(self, queue):
        self.queue = queue
        self.consumers = []
        self.running = 0
        self.waiting = 0
        self.surplus_since = None

    def usable(self):
        return [each for each in self.consumers if each.usable]

    def grant(self):
        while self.waiting and len(self.usable()) > self.running:
            self.waiting -= 1
            self.running += 1

    def end_run(self, now, *, turn_over):
        self.running -= 1
        if len(self.usable()) > self.running:
            min(self.usable(), key=lambda each: each.since).returning = turn_over
            self.grant()

    def state(self, now):
        found = SlotsState(
            self.consumers,
            self.running,
            self.waiting,
            self.queue.count,
            now,
            self.surplus_since,
        )
        if found.surplus <= 0:
            self.surplus_since = None
        elif self.surplus_since is None:
            self.surplus_since = now
        return found

    def take_step(self, now):
        """Take one step, and return whether there was one to take now."""
        match next_step(self.state(now)):
            case Add():
                added = TokenConsumer()
                self.consumers.append(added)
                self.queue.consume(self, added)
            case Return(returned):
                assert returned in self.consumers
                self.queue.take_back(returned)
                self.queue.consume(self, returned)
            case Remove(removed):
                self.consumers.remove(removed)
                self.queue.cancel(removed)
                self.queue.take_back(removed)
            case Wait():
                return False
        self.queue.deliver(now)
        return True

    def lose_connection(self):
        for each in self.consumers:
            self.queue.cancel(each)
            self.queue.take_back(each)
        self.consumers.clear()


class TokenQueue:
    """What RabbitMQ does: tokens go to the consumers that wait, in turn."""

    def __init__(self, count):
        self.count = count
        self.tokens = deque(range(1, count + 1))
        self.waiting = deque()

    def consume(self, process, consumer):
        self.waiting.append((process, consumer))

    def cancel(self, consumer):
        self.waiting = deque(each for each in self.waiting if each[1] is not consumer)

    def take_back(self, consumer):
        if consumer.token is not None:
            self.tokens.append(consumer.token)
        consumer.token, consumer.returning = None, False

    def deliver(self, now):
        while self.tokens and self.waiting:
            process, consumer = self.waiting.popleft()
            consumer.token = self.tokens.popleft()
            consumer.since = now
            process.grant()


class SlotsOfTheMesh(RuleBasedStateMachine):
    """Processes that share tokens while callers come and go and connections are lost."""

    @initialize(count=st.integers(1, 3), processes=st.integers(1, 3))
    def start(self, count, processes):
        self.now = NOW
        self.queue = TokenQueue(count)
        self.processes = [Process(self.queue) for _ in range(processes)]

    def choose(self, number):
        return self.processes[number % len(self.processes)]

    def settle(self):
        """Take all steps, and wait until none is left: they come to an end."""
        for _ in range(500):
            self.now += SURPLUS_GRACE_SECONDS
            taken = [process.take_step(self.now) for process in self.processes]
            if not any(taken):
                return
        pytest.fail("the steps do not come to an end")

    @rule(number=st.integers(0, 2))
    def wait_for_a_slot(self, number):
        process = self.choose(number)
        process.waiting += 1
        process.grant()

    @rule(number=st.integers(0, 2))
    def give_up_waiting(self, number):
        process = self.choose(number)
        process.waiting = max(process.waiting - 1, 0)

    @rule(number=st.integers(0, 2), turn_over=st.booleans())
    def end_a_run(self, number, turn_over):
        process = self.choose(number)
        if process.running:
            process.end_run(self.now, turn_over=turn_over)

    @rule(number=st.integers(0, 2))
    def take_one_step(self, number):
        self.choose(number).take_step(self.now)

    @rule(number=st.integers(0, 2))
    def lose_a_connection(self, number):
        self.choose(number).lose_connection()
        self.queue.deliver(self.now)

    @rule()
    def take_all_steps(self):
        self.settle()
        self.settle()
        for process in self.processes:
            wanted = min(process.running + process.waiting, self.queue.count)
            assert len(process.consumers) == wanted
            assert not any(each.returning for each in process.consumers)
        if any(process.waiting for process in self.processes):
            assert not self.queue.tokens

    @invariant()
    def no_token_is_lost_or_made(self):
        held = [
            each.token
            for process in self.processes
            for each in process.consumers
            if each.token is not None
        ]
        assert sorted([*held, *self.queue.tokens]) == list(range(1, self.queue.count + 1))


TestSlotsOfTheMesh = SlotsOfTheMesh.TestCase
