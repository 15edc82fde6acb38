"""What a console with a history asks for while nobody looks, and what of the answers is new."""

import pytest

from eventmesh.console.state import history as console_history
from eventmesh.console.state.history import NO_HISTORY, History
from eventmesh.console.state.mesh_state import MAX_RUNS, MeshState
from eventmesh.console.state.recorded import Recorded
from eventmesh.console.state.watching import INTERVAL, watched
from eventmesh.model.errors import BrokerUnavailable, Problem
from eventmesh.model.runs import Run, RunFilter, Sight, find_place
from eventmesh.testing.clock import ManualClock


def make_run(number, **members):
    known = {"id": f"r-{number}", "function": "shop.sell", "since": 1.0 + number, "attempt": 1}
    told = {"trigger": "http", "caller": "", "correlation_id": "c", "outcome": "success"}
    return Run(**{"number": number, **known, **told, **members})


class Kept:
    """Takes the place of the history in a store."""

    def __init__(self):
        self.runs = []

    def record(self, ended):
        self.runs += [(instance, run.number) for instance, run in ended]


class FakeSource:
    """A mesh whose processes tell what is in `answers`, the last of which again and again."""

    def __init__(self, *answers):
        self.clock = ManualClock()
        self.answers = list(answers)
        self.asked = []

    async def look(self, **question):
        self.asked.append(question)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def sight(instance, *numbers):
    return Sight(instance, ended=tuple(make_run(number) for number in numbers))


@pytest.fixture
def kept():
    return Kept()


def watch(source, history):
    state = MeshState(source, Recorded(None, source.clock), history)
    return watched(state, source.clock)


async def test_with_a_history_runs_are_asked_for_while_nobody_looks(kept):
    source = FakeSource([sight("i1", 1, 2)], [sight("i1", 1, 2, 3), sight("i2", 1)])
    async with watch(source, History(kept)):
        await source.clock.advance(3 * INTERVAL)
    assert source.asked == [{"seconds": 5.0, "most": MAX_RUNS}] * 3
    assert kept.runs == [("i1", 1), ("i1", 2), ("i1", 3), ("i2", 1)]


async def test_without_one_nothing_is_asked_while_nobody_looks():
    source = FakeSource([sight("i1", 1)])
    async with watch(source, NO_HISTORY):
        await source.clock.advance(10 * INTERVAL)
    assert source.asked == []


@pytest.mark.parametrize("error", [BrokerUnavailable("away"), Problem(503, "it starts")])
async def test_who_cannot_be_asked_is_asked_again(kept, error):
    source = FakeSource([sight("i1", 1)], error, [sight("i1", 1, 2)])
    async with watch(source, History(kept)):
        await source.clock.advance(3 * INTERVAL)
    assert kept.runs == [("i1", 1), ("i1", 2)]


async def test_who_tells_of_more_than_is_asked_for_is_cut(kept, monkeypatch):
    monkeypatch.setattr(console_history, "MAX_RECORDED", 2)
    History(kept).record([sight("i1", 1, 2, 3), sight("i2", 4)])
    assert kept.runs == [("i1", 2), ("i1", 3), ("i2", 4)]


def test_a_run_has_one_place_whoever_tells_of_it():
    run = make_run(1)
    assert find_place(run) == find_place(make_run(9, id="r-1", since=2.0, caller="x"))
    others = [{"id": "r-2"}, {"function": "shop.buy"}, {"attempt": 2}, {"since": 2.5}]
    places = {find_place(make_run(1, **other)) for other in others}
    assert len(places | {find_place(run)}) == 5


def test_a_filter_selects_by_each_of_its_members():
    run = make_run(1, outcome="timeout")
    for which in (
        {},
        {"find": "r-1"},
        {"find": "c"},
        {"function": "shop.sell", "outcome": "timeout", "trigger": "http", "correlation_id": "c"},
        {"since": 2.0, "until": 2.1},
    ):
        assert RunFilter(**which).selects(run), which
    for which in (
        {"find": "x"},
        {"function": "shop"},
        {"outcome": "success"},
        {"trigger": "event"},
        {"correlation_id": "r-1"},
        {"since": 2.1},
        {"until": 2.0},
    ):
        assert not RunFilter(**which).selects(run), which
