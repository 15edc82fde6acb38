import pytest

from eventmesh.doctor.leftovers import OVERDUE_SECONDS, check_leftovers, not_readable
from eventmesh.engine.upkeep.leftovers import Remains
from eventmesh.leftovers.survey import AbandonedQueue, DroppedPattern, Survey
from eventmesh.model.broker import BrokerCommands
from eventmesh.model.errors import BrokerUnavailable

COMMANDS = BrokerCommands("mqctl delete", "mqctl purge", "mqctl consumers")
THEN = 1_764_412_200.0  # 2025-11-29 10:30 UTC
NOW = THEN + 3600


def check(remains=(), *, processes=1, dropped=(), abandoned=(), declared=(), now=NOW):
    survey = Survey("shop", processes, remains, dropped, abandoned)
    return list(check_leftovers([survey], declared, now, COMMANDS))


def one(findings):
    (finding,) = findings
    return finding


def test_nothing_is_left():
    assert one(check()).level == "ok"
    assert one(check_leftovers([], (), NOW, COMMANDS)).level == "ok"


def test_a_function_that_was_removed_with_a_backlog():
    found = one(check([Remains("shop.g", THEN, ("order.*", "sale.#"), 12, 3)]))
    assert (found.level, found.subject) == ("problem", "em.inbox.shop.g")
    assert found.what == (
        "no process has shop.g any more since 2025-11-29 10:30 UTC: 12 invocations wait; "
        "3 dead letters; still subscribed to order.*, sale.#"
    )
    assert "eventmesh prune shop.g" in found.advice


@pytest.mark.parametrize(
    ("remains", "now", "level"),
    [
        (Remains("shop.g", THEN, (), 1, 0), NOW, "problem"),
        (Remains("shop.g", THEN, (), 1, 0), THEN + 30, "note"),
        (Remains("shop.g", 0.0, (), 1, 0), NOW, "note"),
        (Remains("shop.g", THEN, (), 0, 5), NOW, "note"),
        (Remains("shop.g", THEN, ("a",), 0, 0), THEN + OVERDUE_SECONDS + 1, "problem"),
        (Remains("shop.g", THEN, ("a",), 0, 0), THEN + OVERDUE_SECONDS - 1, "note"),
    ],
)
def test_how_serious_it_is(remains, now, level):
    assert one(check([remains], now=now)).level == level


def test_dead_letters_without_an_inbox():
    found = one(check([Remains("shop.g", THEN, (), None, 1)]))
    assert (found.level, found.subject) == ("note", "em.dead.shop.g")
    assert found.what.endswith(": 1 dead letter")


def test_a_service_that_does_not_run_is_one_finding():
    remains = [Remains("shop.f", 0.0, ("a", "b"), 1, None), Remains("shop.g", 0.0, ("a",), 0, 2)]
    found = one(check(remains, processes=0))
    assert (found.level, found.subject) == ("problem", "shop")
    assert found.what == (
        "no process has a function of it: 1 invocation waits; 2 dead letters; "
        "still subscribed to a, b"
    )
    assert "start it" in found.advice
    assert "eventmesh prune shop" in found.advice
    assert one(check([Remains("shop.f", 0.0, (), 0, 2)], processes=0)).level == "note"


def test_what_the_code_at_hand_declares_is_checked_elsewhere():
    remains = [Remains("shop.f", THEN, (), 5, None)]
    assert one(check(remains, declared={"shop.f"})).level == "ok"


@pytest.mark.parametrize(
    ("after", "level"), [(30, "ok"), (120, "note"), (OVERDUE_SECONDS + 1, "problem")]
)
def test_a_pattern_that_is_still_bound(after, level):
    found = one(check(dropped=[DroppedPattern("shop.f", "order.*", THEN)], now=THEN + after))
    assert found.level == level
    assert level == "ok" or "still gets order.*" in found.what


def test_a_queue_that_nothing_consumes():
    found = one(check(abandoned=[AbandonedQueue("sales", "shop.f", THEN, 2)]))
    assert (found.level, found.subject) == ("note", "sales")
    assert (
        found.what == "2 messages that nothing consumes: shop.f does not since 2025-11-29 10:30 UTC"
    )
    assert "mqctl delete sales" in found.advice


def test_records_that_cannot_be_read_do_not_end_the_report():
    found = not_readable(BrokerUnavailable("a node"))
    assert found.level == "note"
    assert "a node" in found.what
    assert "again" in found.advice


def test_surveys_that_are_not_all_say_nothing_of_the_rest():
    assert list(check_leftovers([], [], NOW, COMMANDS, complete=False)) == []
