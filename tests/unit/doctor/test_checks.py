from dataclasses import replace

import pytest

from eventmesh.doctor.checks import (
    ExpectedQueue,
    QueueState,
    check_alarm,
    check_delays,
    check_queues,
    check_server,
    report_hidden,
)
from eventmesh.model.broker import (
    ArgumentDifference,
    BrokerCommands,
    BrokerInfo,
    LostMessages,
    QueueInfo,
)
from eventmesh.model.topology import dead_letters, inbox, named, rpc_queue

COMMANDS = BrokerCommands("mqctl delete", "mqctl purge", "mqctl consumers")
SELL = "shop.sell"
INBOX = ExpectedQueue(inbox(SELL), SELL, "inbox")
LINE = ExpectedQueue(rpc_queue(SELL, 100), SELL, "rpc")
DEAD = ExpectedQueue(dead_letters(SELL), SELL, "dead letters")
OWN = ExpectedQueue(named("sales"), SELL, "source")
FOREIGN = ExpectedQueue(named("sales", declare=False), SELL, "source")


def one(findings):
    (finding,) = findings
    return finding


def found(messages=0, consumers=0, difference=None):
    return QueueInfo(messages, consumers, difference)


def finding(expected, found, processes):
    return one(check_queues([QueueState(expected, found, processes)], COMMANDS))


def server(product="RabbitMQ", missing=(), *, tested=True):
    return BrokerInfo(product, "3.10.8", "one@host", missing, tested, "3.10 to 4.3", COMMANDS)


def test_a_broker_that_was_tested():
    told = one(check_server(server()))
    assert (told.level, told.what) == ("ok", "RabbitMQ 3.10.8 (cluster one@host)")


def test_a_broker_that_was_not():
    told = one(check_server(server(tested=False)))
    assert told.level == "note"
    assert told.what.endswith("is not among the tested versions, 3.10 to 4.3")


def test_a_broker_that_is_no_rabbitmq():
    told = one(check_server(server("Qpid", ("direct_reply_to",))))
    assert told.level == "problem"
    assert "does not support direct_reply_to" in told.what


def test_a_broker_that_may_lose_delayed_messages():
    told = one(check_server(replace(server(), disabled="a flag is off", enable="enable it")))
    assert (told.level, told.subject) == ("problem", "broker")
    assert told.what.endswith("a flag is off")
    assert told.advice.startswith("enable it")


def test_a_queue_whose_node_is_down():
    told = finding(INBOX, QueueInfo(0, 0, None, away="its node is down"), processes=1)
    assert (told.level, told.subject) == ("problem", INBOX.queue.name)
    assert "its node is down" in told.what


def test_alarms():
    assert check_alarm("").level == "ok"
    assert check_alarm("low on memory").level == "problem"


def test_delayed_messages_that_had_nowhere_to_go():
    assert check_delays(LostMessages("em.delay.lost", 0), COMMANDS).level == "ok"
    told = check_delays(LostMessages("em.delay.lost", 3), COMMANDS)
    assert (told.level, told.subject) == ("note", "em.delay.lost")
    assert told.what.startswith("3 delayed messages had no queue to go to")
    assert "'mqctl purge em.delay.lost'" in told.advice


@pytest.mark.parametrize(
    ("expected", "seen", "processes"),
    [
        (INBOX, found(messages=7, consumers=2), 2),
        (INBOX, found(), 0),
        (LINE, found(consumers=1), 1),
        (DEAD, found(), 2),
        (OWN, found(messages=7, consumers=1), 3),
        (OWN, found(consumers=9), 1),
        (FOREIGN, found(messages=7), 0),
    ],
)
def test_all_is_well(expected, seen, processes):
    assert finding(expected, seen, processes).level == "ok"


@pytest.mark.parametrize(
    ("expected", "seen", "processes", "level", "what"),
    [
        (INBOX, None, 0, "note", "it does not exist: no process serves shop.sell"),
        (INBOX, None, 1, "problem", "it does not exist, and 1 process serves shop.sell"),
        (FOREIGN, None, 0, "problem", "it does not exist, and shop.sell consumes it"),
        (INBOX, found(), 2, "problem", "no consumers, and 2 processes serve shop.sell"),
        (LINE, found(consumers=1), 2, "problem", "1 consumer, and 2 processes serve shop.sell"),
        (LINE, found(consumers=2), 1, "problem", "2 consumers, and 1 process serves shop.sell"),
        (INBOX, found(consumers=1), 0, "problem", "1 consumer, and no processes serve shop.sell"),
        (
            INBOX,
            found(messages=3),
            0,
            "problem",
            "3 invocations of shop.sell waiting, and no processes serve shop.sell",
        ),
        (OWN, found(), 1, "problem", "no consumers, and 1 process serves shop.sell"),
        (DEAD, found(messages=1), 1, "note", "1 dead letter of shop.sell"),
    ],
)
def test_what_is_not_well(expected, seen, processes, level, what):
    told = finding(expected, seen, processes)
    assert (told.level, told.what, told.subject) == (level, what, expected.queue.name)
    assert told.advice or level == "note"


def test_what_the_user_may_not_see_is_told_in_one_line():
    queues = [f"em.inbox.shop.f{n}" for n in range(5)]
    (told,) = report_hidden(queues, ["em.record.shop"])
    assert (told.level, told.subject) == ("note", "rights")
    assert told.what == (
        "a part was not looked at, for want of rights: of the queues and consumers (any right on "
        "em.inbox.shop.f0, em.inbox.shop.f1, em.inbox.shop.f2 and 2 others); of leftovers "
        "(configure, write and read on em.record.shop)"
    )
    assert "'operator'" in told.advice


def test_nothing_is_told_where_everything_is_seen():
    assert list(report_hidden([], [])) == []


def test_a_queue_that_differs_has_to_be_made_anew():
    difference = ArgumentDifference("x-queue-type", "'classic'", "'quorum'")
    told = finding(INBOX, found(difference=difference), 0)
    assert told.what == "its x-queue-type is 'classic', and the code says 'quorum'"
    assert "mqctl delete em.inbox.shop.sell" in told.advice
    assert "expires" in finding(LINE, found(difference=difference), 0).advice


def test_a_queue_may_have_several_faults():
    seen = QueueState(INBOX, found(difference=ArgumentDifference("a", "1", "2")), 1)
    assert [told.level for told in check_queues([seen], COMMANDS)] == ["problem", "problem"]
