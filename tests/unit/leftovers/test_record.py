import logging

import pytest

from eventmesh.leftovers.record import (
    FORGOTTEN_AFTER,
    MAX_GONE,
    FunctionRecord,
    Record,
    declare,
    dump_record,
    find_unused,
    is_settled,
    load_record,
    lost_bindings,
    mark_unbound,
    observe,
)
from eventmesh.model.topology import Binding, inbox
from eventmesh.presence import AnnouncedSources

NOW = 1_764_000_000.0
GRACE = 60.0
F, G = "shop.f", "shop.g"
OLD = {F: AnnouncedSources(("order.*",), ("sales",)), G: AnnouncedSources(("order.placed",))}
NEW = {F: AnnouncedSources(("order.placed",))}


@pytest.fixture
def rolled():
    """The record after the new version was started beside the old one."""
    return declare(declare(Record(), OLD, "1"), NEW, "2")


def test_it_is_read_as_it_was_written(rolled):
    record = mark_unbound(observe(rolled, NEW, NOW, 3), F, "order.*", NOW)
    assert load_record("shop", dump_record(record)) == record
    assert load_record("shop", b"") == Record()


@pytest.mark.parametrize(
    "state",
    [
        b"no JSON",
        b"[" * 300_000,
        b"[]",
        b'{"functions": {"other.f": {}}}',
        b'{"functions": {"shop.#": {}}}',
        b'{"functions": {"shop.f": {"patterns": {"a b": 0}}}}',
        b'{"functions": {"shop.f": {"patterns": {"a": "x"}}}}',
        b'{"functions": {"shop.f": {"patterns": {"a": NaN}}}}',
        b'{"functions": {"shop.f": {"gone": 1e300}}}',
        b'{"functions": {"shop.f": {"gone": -1}}}',
        b'{"replicas": 1000000000}',
        b'{"replicas": 0}',
    ],
)
def test_what_anybody_may_have_written_counts_as_empty(state, caplog):
    with caplog.at_level(logging.WARNING):
        assert load_record("shop", state) == Record()
    assert "cannot be read" in caplog.text


def test_all_that_was_ever_declared_is_in_it(rolled):
    assert rolled.version == "2"
    assert rolled.functions == {
        F: FunctionRecord({"order.*": 0.0, "order.placed": 0.0}, {"sales": 0.0}),
        G: FunctionRecord({"order.placed": 0.0}),
    }
    assert not is_settled(rolled, NEW)
    assert is_settled(declare(Record(), NEW, "2"), NEW)


def test_what_a_process_still_declares_is_in_use(rolled):
    seen = observe(rolled, OLD | NEW | {F: AnnouncedSources(("order.*", "order.placed"))}, NOW, 2)
    assert seen.functions[F].patterns == {"order.*": 0.0, "order.placed": 0.0}
    assert seen.functions[G].gone == 0.0
    assert list(find_unused(seen, OLD, GRACE)) == []


def test_what_none_declares_for_the_grace_is_to_be_unbound(rolled):
    once = observe(rolled, NEW, NOW, 1)
    assert once.functions[F].patterns == {"order.*": NOW, "order.placed": 0.0}
    assert once.functions[F].queues == {"sales": NOW}
    assert once.functions[G].gone == NOW
    assert list(find_unused(once, NEW, GRACE)) == []

    later = observe(once, NEW, NOW + GRACE, 1)
    assert later.functions[G].gone == NOW
    unused = list(find_unused(later, NEW, GRACE))
    assert unused == [(F, "order.*"), (G, "order.placed")]
    for name, pattern in unused:
        later = mark_unbound(later, name, pattern, NOW + GRACE)
    assert is_settled(later, NEW)
    assert later.functions[F].unbound == {"order.*": NOW + GRACE}


def test_who_declares_it_again_in_between_starts_the_grace_anew(rolled):
    once = observe(rolled, NEW, NOW, 1)
    again = declare(once, OLD, "1")
    assert again.functions[G] == FunctionRecord({"order.placed": 0.0})
    later = observe(again, NEW, NOW + GRACE, 1)
    assert list(find_unused(later, NEW, GRACE)) == []


def test_a_time_in_the_future_is_that_of_another_clock(rolled):
    once = observe(rolled, NEW, NOW + 3600, 1)
    assert observe(once, NEW, NOW, 1).functions[F].patterns["order.*"] == NOW


def test_what_was_unbound_is_bound_again_by_who_declares_it(rolled):
    record = mark_unbound(observe(rolled, NEW, NOW, 1), F, "order.*", NOW)
    assert list(lost_bindings(record, OLD)) == [
        Binding(inbox(F), "order.*"),
        Binding(inbox(G), "order.placed"),
    ]
    assert declare(record, OLD, "1").functions[F].unbound == {}
    assert list(lost_bindings(declare(record, OLD, "1"), OLD)) == []


def test_what_was_unbound_is_forgotten_in_time(rolled):
    record = mark_unbound(observe(rolled, NEW, NOW, 1), F, "order.*", NOW)
    assert list(find_unused(observe(record, NEW, NOW + 1, 1), NEW, GRACE)) == [(F, "order.*")]
    week = observe(record, NEW, NOW + FORGOTTEN_AFTER, 1)
    assert week.functions[F].unbound == {}


def test_of_too_many_functions_without_code_the_latest_are_kept():
    names = {f"shop.f{number}": AnnouncedSources() for number in range(MAX_GONE + 3)}
    record = Record()
    for number, (name, sources) in enumerate(names.items()):
        one = observe(declare(Record(), {name: sources}, ""), {}, NOW + number, 1)
        record.functions.update(one.functions)
    kept = observe(record, {}, NOW * 2, 1).functions
    assert len(kept) == MAX_GONE
    assert "shop.f2" not in kept
    assert "shop.f3" in kept
