"""The verdicts of `eventmesh doctor --permissions`, and what it tries."""

import re

import pytest

from eventmesh import Service, SettingsError
from eventmesh.brokers.rabbitmq.access.permissions import Rights, permissions
from eventmesh.brokers.rabbitmq.access.probes import Probe, probes
from eventmesh.doctor.permissions import has_differences, judge, try_permissions

RIGHTS = Rights(
    "orders",
    ("orders.place",),
    queues=("paper",),
    patterns=("payment.*", "stock.low"),
    calls=("stock.reserve", "mail.*", "queue:letters"),
    emits=("order.placed",),
)
RIGHT_OF = {"declare": "configure", "consume": "read", "publish": "write", "subscribe": "read"}


def probe(*, granted):
    return Probe("publish", "em.to.inbox.stock.reserve", granted, "em.to.inbox.stock.reserve")


@pytest.mark.parametrize(
    ("granted", "outcome", "verdict"),
    [
        (True, "allowed", "OK"),
        (True, "refused", "MISSING"),
        (True, "absent", "MISSING"),
        (False, "refused", "OK"),
        (False, "allowed", "TOO MUCH"),
        (False, "absent", "TOO MUCH"),
    ],
)
def test_verdicts(granted, outcome, verdict):
    judged = judge(probe(granted=granted), outcome)
    assert judged.verdict == verdict
    assert judged.right == "publish em.to.inbox.stock.reserve"
    assert bool(judged.advice) == has_differences([judged]) == (verdict != "OK")


@pytest.mark.parametrize("granted", [True, False])
def test_what_is_tried_is_what_the_permissions_say(granted):
    exported = permissions(RIGHTS)
    tried = [
        each
        for each in probes(RIGHTS)
        if each.granted is granted and each.method in RIGHT_OF and not each.pattern
    ]
    assert tried
    for each in tried:
        pattern = getattr(exported, RIGHT_OF[each.method]).replace(r"\z", r"\Z")
        assert bool(re.search(pattern, each.name)) is granted, each


def test_every_right_of_the_code_is_tried():
    shown = {(each.method, each.shown, each.pattern) for each in probes(RIGHTS) if each.granted}
    assert shown >= {
        ("publish", "em.to.rpc.stock.reserve", ""),
        ("publish", "em.to.queue.letters", ""),
        ("publish", "em.to.queue.paper", ""),
        ("publish", "em.event.order.placed", ""),
        ("subscribe", "em.events", "payment.*"),
        ("subscribe", "em.event.stock.low", "stock.low"),
    }


def test_a_service_that_gets_all_events_may_subscribe_to_all():
    all_events = Rights("audit", (), patterns=("#",))
    assert ("em.events", "#", True) in {(p.name, p.pattern, p.granted) for p in probes(all_events)}
    assert ("em.events", "#", False) not in {
        (p.name, p.pattern, p.granted) for p in probes(all_events)
    }


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("amqp://orders@mq.example", "one user for all services"),
        ("amqp://stock@mq.example?users=per-service", "'stock' .* is none of the services"),
    ],
)
async def test_the_user_is_that_of_a_target(url, why):
    with pytest.raises(SettingsError, match=why):
        await try_permissions(url, [Service("orders")])
