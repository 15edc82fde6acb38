"""The account of a load finds what it is there to find."""

import asyncio

import pytest
from cluster_load import ledger as ledgers
from cluster_load.ledger import HANDLED, KINDS, Ledger
from cluster_load.report import broken_promises, table


@pytest.fixture
def ledger():
    return Ledger()


def handle(ledger, *lines):
    for line in lines:
        ledger.listen(None, line)


def test_what_is_confirmed_and_handled_once_breaks_nothing(ledger):
    ledger.confirm(["delayed"], "client 0", 7)
    handle(ledger, "delayed 7 0.25", "place 1", "timer 0.500 0.010 a", "timer 1.000 0.010 b")
    assert broken_promises(ledger) == []
    assert ledger.accounts["delayed"].latest == 0.25


@pytest.mark.parametrize("kind", HANDLED)
def test_what_is_confirmed_and_not_handled_is_lost(ledger, kind):
    ledger.confirm([kind], "client 0", 7)
    handle(ledger, f"{kind} 8")
    assert broken_promises(ledger) == [f"{kind}: 1 lost: [7]"]


def test_what_was_refused_and_is_handled_all_the_same_is_no_loss(ledger):
    handle(ledger, "asynchronous 8")
    assert broken_promises(ledger) == []


def test_what_is_handled_again_is_doubled(ledger):
    handle(ledger, "batch 1", "batch 2", "batch 1", "batch 1")
    assert ledger.accounts["batch"].doubled == 2


def test_calls_that_hung(ledger):
    ledger.accounts["synchronous"].hung = 2
    assert broken_promises(ledger) == ["synchronous: 2 hung"]


def test_a_place_beyond_the_limit(ledger):
    handle(ledger, "place 0", "place 2", "place 1")
    assert broken_promises(ledger) == ["slots: 3 at once of 2"]


def test_places_while_a_fault_is_on(ledger):
    """Each slot may be held twice, and no more."""
    ledger.is_well = False
    handle(ledger, "place 0", "place 3")
    assert broken_promises(ledger) == []
    handle(ledger, "place 4")
    assert broken_promises(ledger) == ["slots: 5 at once of 2"]


def test_a_moment_that_did_not_fire(ledger):
    handle(ledger, "timer 0.500 0.010 a", "timer 1.500 0.010 b")
    assert broken_promises(ledger) == ["timer: missed after [0.5]"]


def test_a_moment_under_two_ids(ledger):
    handle(ledger, "timer 0.500 0.010 a", "timer 0.500 0.010 b")
    assert broken_promises(ledger) == ["timer: moments under several ids: ['0.500']"]


def test_the_table_has_a_row_for_each_kind(ledger):
    ledger.confirm(["slots"], "client 0", 7)
    ledger.accounts["slots"].refused["Throttled"] += 1
    lines = table("a fault", ledger).splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == list(KINDS)
    assert lines[-1] == "refused: {'slots': {'Throttled': 1}}"


async def test_settling_waits_for_what_is_missing(ledger, soon):
    ledger.confirm(["slots"], "client 0", 7)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(soon(ledger.settle()))
        await asyncio.sleep(0)
        handle(ledger, "slots 7")


async def test_settling_gives_up_when_nothing_moves(ledger, soon, monkeypatch):
    monkeypatch.setattr(ledgers, "STANDSTILL_SECONDS", 0)
    ledger.confirm(["slots"], "client 0", 7)
    await soon(ledger.settle())
    assert ledger.accounts["slots"].lost == {7}


async def test_progress_says_what_does_not_move(ledger, monkeypatch):
    monkeypatch.setattr(ledgers, "DEADLINE", 0)
    with pytest.raises(AssertionError, match="batch by client 0"):
        await ledger.progress(["client 0"])
