"""A user of RabbitMQ with the right to write sends anything to each kind of queue.

After each, the service and the gateway answer, over the same connections.
"""

from struct import pack

import pytest

from eventmesh.aio.clock import SystemClock
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.http.protocol import RELAYED_REQUEST
from eventmesh.model.topology import Queue

BINARY = b"\xff" + b"\xfe" * 255
"""A short string of 255 bytes, none of which is UTF-8."""
LONG = 100_000


def short(text):
    return bytes((len(text),)) + text.encode()


def headers(entries):
    return b"\x20\0" + len(entries).to_bytes(4, "big") + entries


def version(epoch):
    table = short("em-epoch") + b"l" + pack(">q", epoch) + short("em-number") + b"l" + pack(">q", 0)
    return b"\x20\x20" + len(table).to_bytes(4, "big") + table + short("state")


PROPERTIES = {
    "nothing": b"\0\0",
    "ids that are not UTF-8": b"\x86\xa8" + BINARY * 6,
    "a name that is not UTF-8": headers(BINARY + b"t\1"),
    "a large number": headers(b"\x0aem-attemptL" + pack(">q", 2**62)),
    "a negative number": headers(b"\x0aem-attemptl" + pack(">q", -(2**63))),
    "a long text": headers(b"\x01hS" + pack(">I", LONG) + b"\xff" * LONG),
    "a time that is none": headers(b"\x07em-timed" + pack(">d", float("nan"))),
    "a deadline that is none": headers(b"\x0aem-timeoutd" + pack(">d", float("-inf"))),
    "nested tables": headers(b"\x01tF" + pack(">I", 8) + b"\x01tF" + pack(">I", 1) + b"\0"),
    "nested arrays": headers(b"\x01aA" + pack(">I", 5) + b"A" + pack(">I", 0)),
    "a decimal": headers(b"\x01dD" + b"\xff" + pack(">i", -1)),
    "a large timestamp": headers(b"\x01tT" + pack(">Q", 2**64 - 1)),
    "a late time": b"\0\x40" + pack(">Q", 2**64 - 1),
    "a request of a gateway": b"\0\x20" + short(RELAYED_REQUEST),
    "an error": b"\0\x20" + short("error"),
    "a reply address that is none": b"\x02\0" + BINARY,
    "a reply address that is ours": b"\x02\0" + short("em.presence"),
    "a state": version(5),
    "a state from the end of numbers": version(2**63 - 1),
    "a state of a negative epoch": version(-5),
}
BODIES = {
    "nothing": b"",
    "no JSON": b"not json",
    "not UTF-8": b"\xff\xfe",
    "nested": b"[" * 100_000,
    "a list": b"[1]",
    "a number": b"1e400",
    "no head": b'{"route":1}\nx',
    "a state": b'{"queue": "em.slots.other", "count": 1000, "retired": ["em.inbox.x"]}',
    "positions": b'{"x": 18446744073709551615, "y": -5, "z": "q"}',
}
MESSAGES = [
    *((name, properties, b"{}") for name, properties in PROPERTIES.items()),
    *((name, b"\0\0", body) for name, body in BODIES.items()),
    *((name, PROPERTIES["a request of a gateway"], body) for name, body in BODIES.items()),
    *((name, PROPERTIES["a state"], body) for name, body in BODIES.items()),
]

QUEUES = {
    "an inbox": ("", "em.inbox.{}.pay"),
    "an RPC queue": ("", "em.rpc.{}.pay"),
    "the RPC queue of a limited function": ("", "em.rpc.{}.limited"),
    "dead letters": ("", "em.dead.{}.pay"),
    "the lease of timers": ("", "em.timers.{}"),
    "the lease of slots": ("", "em.slots.{}.limited.lease"),
    "a queue": ("", "bank.statements"),
    "a queue of batches": ("", "bank.lines"),
    "events and broadcasts": ("em.events", "order.placed"),
    "announcements": ("em.presence", "here"),
    "heartbeats": ("em.presence", "alive"),
    "goodbyes": ("em.presence", "gone"),
    "questions": ("em.presence", "query"),
    "a delay": ("em.delay.0", ".".join("0" * 27 + "1") + ".em.inbox.{}.pay"),
    "a delay to nowhere": ("em.delay.0", "x"),
    "the end of the delays": ("em.delay.due", "em.inbox.{}.pay"),
}


@pytest.mark.parametrize("kind", QUEUES)
async def test_whatever_comes_the_service_and_the_gateway_answer(victim, write, kind):
    exchange, key = (part.format(victim.name) for part in QUEUES[kind])
    # A message with a delay makes the ladder.
    await victim.host.caller.send(f"{victim.name}.pay", {"amount": 1}, delay=0.1)
    before = victim.connections(), victim.lost()
    taken = [await write(key, properties, body, exchange) for _, properties, body in MESSAGES]
    assert sum(taken) > len(MESSAGES) / 2
    await victim.answers()
    if kind == "dead letters":
        letters = BrokerDeadLetters(victim.broker, SystemClock())
        found = await letters.list(f"{victim.name}.pay", 1000)
        assert len(found) >= sum(taken)
        assert await letters.redrive(f"{victim.name}.pay") == len(found)
        await victim.answers()
    if not exchange and "dead" not in key and "timers" not in key and "slots" not in key:
        await victim.drained(Queue(key, "named"))
        await victim.answers()
    assert (victim.connections(), victim.lost()) == before
