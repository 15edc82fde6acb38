"""Acknowledgements: each delivery is answered exactly once on the wire, whatever the order."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from eventmesh.brokers.rabbitmq.datapath.acks import AckBatcher


class Broker:
    """A channel as the broker sees it: which deliveries wait for an answer, and what they got."""

    def __init__(self):
        self.waiting = []
        self.acked = set()
        self.requeued = set()
        self.frames = 0
        self.open = True

    def ack(self, tag, *, multiple=False):
        if not self.open:
            return
        self.frames += 1
        # RabbitMQ closes the channel for a tag that it does not know, or knows no more (406).
        assert tag in self.waiting
        answered = [one for one in self.waiting if one == tag or (multiple and one < tag)]
        self.acked.update(answered)
        self.waiting = [one for one in self.waiting if one not in answered]

    def requeue(self, tag):
        if not self.open:
            return
        self.frames += 1
        assert tag in self.waiting
        self.requeued.add(tag)
        self.waiting.remove(tag)


class AnswersMachine(RuleBasedStateMachine):
    """Random deliveries and answers, against what should come of them."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.broker = Broker()
        self.acks = AckBatcher(self.broker)
        self.delivered = 0
        self.acked, self.requeued = set(), set()
        self.acks.on_settled = lambda: None
        self.aside = set()

    def teardown(self):
        self.loop.close()

    def run(self, call, *arguments):
        """Call within the loop, whose pass is not over then."""

        async def inside():
            call(*arguments)

        task = self.loop.create_task(inside())
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        task.result()

    @rule(count=st.integers(1, 10))
    def deliver(self, count):
        for _ in range(count):
            self.delivered += 1
            if self.broker.open:
                self.broker.waiting.append(self.delivered)
                self.acks.add(self.delivered)

    @rule(data=st.data())
    def ack(self, data):
        tag = data.draw(st.integers(1, self.delivered + 2))
        if self.broker.open and tag <= self.delivered and tag not in self.requeued:
            self.acked.add(tag)
        self.run(self.acks.ack, tag)

    @rule(data=st.data())
    def requeue(self, data):
        tag = data.draw(st.integers(1, self.delivered + 2))
        if self.broker.open and tag <= self.delivered and tag not in self.acked:
            self.requeued.add(tag)
        self.run(self.acks.requeue, tag)

    @rule()
    def finish_all(self):
        for tag in range(1, self.delivered + 1):
            self.ack_one(tag)

    def ack_one(self, tag):
        if self.broker.open and tag not in self.requeued:
            self.acked.add(tag)
        self.run(self.acks.ack, tag)

    @rule()
    def lose(self):
        self.broker.open = False
        self.acked, self.requeued = set(self.broker.acked), set(self.broker.requeued)

    @rule()
    def flush(self):
        self.acks.flush()
        self.check_flushed()

    @rule()
    def set_aside(self):
        self.acks.flush()
        self.acks.set_aside()
        self.aside = set(self.broker.waiting)
        self.check_flushed()

    def check_flushed(self):
        if self.broker.open:
            assert self.broker.acked == self.acked
            assert self.acks.surplus == len(self.aside & set(self.broker.waiting))
            assert len(self.acks) == len(self.broker.waiting)

    @invariant()
    def nothing_is_answered_that_was_not(self):
        assert self.broker.acked <= self.acked
        assert self.broker.requeued == self.requeued
        assert not self.broker.acked & self.broker.requeued


AnswersMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestAnswers = AnswersMachine.TestCase


class Frames(Broker):
    """A channel that notes what is written to it."""

    def __init__(self):
        super().__init__()
        self.written = []

    def ack(self, tag, *, multiple=False):
        super().ack(tag, multiple=multiple)
        self.written.append((tag, multiple))


async def test_what_is_finished_in_one_pass_takes_one_frame():
    channel = Frames()
    acks = AckBatcher(channel)
    deliver(channel, acks, 100)
    for tag in range(100, 0, -1):
        acks.ack(tag)
    assert channel.written == []
    await asyncio.sleep(0)
    assert channel.written == [(100, True)]


async def test_what_is_finished_behind_a_gap_is_answered_one_by_one():
    channel = Frames()
    acks = AckBatcher(channel)
    deliver(channel, acks, 6)
    for tag in (6, 1, 4, 2):
        acks.ack(tag)
    await asyncio.sleep(0)
    assert channel.written == [(2, True), (4, False), (6, False)]
    acks.ack(3)
    await asyncio.sleep(0)
    acks.ack(5)
    await asyncio.sleep(0)
    assert channel.written[3:] == [(3, False), (5, False)]


async def test_a_requeue_is_no_gap():
    channel = Frames()
    acks = AckBatcher(channel)
    deliver(channel, acks, 3)
    acks.requeue(2)
    acks.ack(1)
    acks.ack(3)
    acks.ack(2)
    acks.requeue(3)
    await asyncio.sleep(0)
    assert channel.requeued == {2}
    assert channel.written == [(3, True)]


def deliver(channel, acks, count):
    for tag in range(1, count + 1):
        channel.waiting.append(tag)
        acks.add(tag)
