"""What the benchmark of outboxes measures."""

import asyncio

import pytest

from benchmarks.job import Job
from benchmarks.outbox.arrivals import Arrivals, find_p99, measure_arrivals
from benchmarks.processes import LeftOut
from benchmarks.results import Results
from benchmarks.scenario import Bench
from benchmarks.scenarios.outbox import CROWDED, SCENARIO

JOB = Job("", "", 20, 4)


async def test_all_orders_are_placed_and_waited_for():
    arrivals, placed = Arrivals(), []

    async def place(order):
        placed.append(order.id)
        arrivals.commit(order.id)
        asyncio.get_running_loop().call_soon(arrivals.handle, order.id)
        # A second delivery is none.
        asyncio.get_running_loop().call_soon(arrivals.handle, order.id)

    figures = await measure_arrivals(place, arrivals, JOB)
    assert len(placed) == len(set(placed)) == 2 + 20
    assert set(SCENARIO.units) == figures.keys()
    assert all(figure > 0 for figure in figures.values())


async def test_what_is_handled_before_its_sender_knows_has_no_lag():
    arrivals = Arrivals()

    async def place(order):
        arrivals.handle(order.id)
        arrivals.commit(order.id)

    assert (await measure_arrivals(place, arrivals, JOB))["lag"] == 0


async def test_an_order_that_is_lost_is_no_figure(monkeypatch):
    monkeypatch.setattr("benchmarks.outbox.arrivals.SECONDS", 0.01)

    async def lose(order): ...

    with pytest.raises(TimeoutError):
        await measure_arrivals(lose, Arrivals(), JOB)


def test_the_99th_percentile_is_none_that_nobody_saw():
    assert find_p99([1.0, 1.0]) == 1.0
    assert 99 <= find_p99([float(number) for number in range(1, 101)]) <= 100


def test_what_has_no_lag_has_no_ratio():
    results = Results(CROWDED)
    figures = dict.fromkeys(CROWDED.units, 2.0)
    results.add(0, "eventmesh", figures)
    results.add(0, "kept", figures | {"lag": 0.0})
    assert {unit for unit, *_ in results.ratios()} == {
        title for name, title in CROWDED.units.items() if name != "lag"
    }


def test_no_database_leaves_a_subject_out(monkeypatch):
    def no_database():
        raise LeftOut("there is none")

    with pytest.raises(LeftOut):
        SCENARIO.measure(Bench("", None, str, quick=True, database=no_database), "plain")
