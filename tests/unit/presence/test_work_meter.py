from eventmesh.model.work import Work
from eventmesh.presence import Instance, WorkMeter
from eventmesh.presence.work_meter import NEW_SECONDS


def process(id, ended, started=0.0, revision="", **fields):
    work = {"shop.sell": Work(ended, 0, ended, float(ended))}
    services = {"shop": "1"}
    return Instance(id, "host", 7, started, services, work=work, revision=revision, **fields)


def ended(totals, revision=""):
    return totals[revision, "shop.sell"].ended


def test_what_was_done_before_is_not_counted():
    meter = WorkMeter()
    assert ended(meter.take([process("a", 100)], 1000.0)) == 0
    assert ended(meter.take([process("a", 130)], 1005.0)) == 30


def test_what_a_process_that_is_gone_has_done_stays():
    meter = WorkMeter()
    meter.take([process("a", 100), process("b", 0)], 1000.0)
    meter.take([process("a", 110), process("b", 5)], 1005.0)
    assert ended(meter.take([process("b", 6)], 1010.0)) == 16


def test_all_that_a_new_process_has_done_counts_and_an_old_one_begins_now():
    meter = WorkMeter()
    meter.take([], 1000.0)
    new, old = process("new", 7, started=1001.0), process("old", 70)
    assert ended(meter.take([new, old], 1005.0)) == 7
    assert ended(meter.take([process("old", 71)], 1001.0 + NEW_SECONDS)) == 8


def test_one_that_was_not_heard_for_a_while_goes_on_where_it_was():
    meter = WorkMeter()
    meter.take([process("a", 100)], 1000.0)
    meter.take([], 1005.0)
    assert ended(meter.take([process("a", 120)], 2000.0)) == 20


def test_revisions_are_apart_and_who_only_stands_in_does_nothing():
    meter = WorkMeter()
    meter.take([], 1000.0)
    one = process("a", 1, 1000.0, "one")
    two = process("b", 2, 1000.0, "two")
    totals = meter.take([one, two, process("c", 50, 1000.0, stand_in=True)], 1001.0)
    assert (ended(totals, "one"), ended(totals, "two")) == (1, 2)
    assert ("", "shop.sell") not in totals
