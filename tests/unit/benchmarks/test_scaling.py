"""The model of more replicas, and the page with what it computes."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from benchmarks.scaling.__main__ import main
from benchmarks.scaling.model import (
    Layout,
    arrivals,
    find_end,
    find_need,
    peak_of,
    simulate,
)
from benchmarks.scaling.page import PAGE, RULE, SIZES, fill_page, render_tables
from benchmarks.scaling.recorded import Recorded, read_recorded

ONE = Recorded("a machine", 2.0, 0.1, queue=1000.0, node=3000.0, cluster=2000.0)
ENOUGH = Layout("enough", 1e9)


def test_the_page_has_what_the_model_computes():
    text = PAGE.read_text(encoding="utf-8")
    tables = render_tables(read_recorded())
    assert all(f"<!-- table: {name} -->" in text for name in tables)
    assert fill_page(text, tables) == text


def test_a_page_that_is_old_is_seen():
    text = PAGE.read_text(encoding="utf-8")
    faster = replace(read_recorded(), queue=read_recorded().queue * 2)
    assert fill_page(text, render_tables(faster)) != text


def test_the_command_prints_the_same():
    printed = CliRunner().invoke(main, [])
    assert printed.exit_code == 0, printed.output
    for table in render_tables(read_recorded()).values():
        assert table in printed.output


def test_a_replica_takes_what_littles_law_says():
    # 10 at once of 0.1 s are 100 a second, of which four fifths are to be used.
    assert peak_of(ONE, 1, RULE) == pytest.approx(80)
    assert find_end(ONE, 1000, RULE) == 12
    need = find_need(ONE, 100, RULE)
    # 8,000 a second: of 1,000, of 3,000, and of three machines that each do 2,000.
    assert (need.queues, need.nodes, need.clusters) == (8, 3, 2)


@pytest.mark.parametrize("replicas", SIZES)
def test_where_enough_passes_all_is_done_by_about_so_many_replicas(replicas):
    outcome = simulate(ONE, ENOUGH, replicas, RULE)
    assert outcome.unfinished == pytest.approx(0, abs=1e-3)
    assert replicas <= outcome.most <= replicas * 1.2 + 1
    assert outcome.waiting <= ONE.start + 2
    assert outcome.replica_hours >= outcome.needed_hours * 0.99


def test_what_starts_slowly_is_waited_for():
    slow = simulate(replace(ONE, start=60.0), ENOUGH, 100, RULE)
    assert slow.waiting > simulate(ONE, ENOUGH, 100, RULE).waiting
    assert slow.unfinished == pytest.approx(0, abs=1e-3)


def test_a_queue_that_has_ended_keeps_work_waiting_and_wants_no_more_replicas():
    queue = Layout("one queue", ONE.queue)
    outcome = simulate(ONE, queue, 100, RULE)
    # So many as a queue feeds, and those that were there.
    assert outcome.most <= find_end(ONE, ONE.queue, RULE) + 2
    assert outcome.waiting > 60
    come = sum(arrivals(peak_of(ONE, 100, RULE)))
    assert outcome.unfinished == pytest.approx(come - ONE.queue * 1500, rel=0.02)


def test_figures_are_read_as_the_benchmarks_write_them(tmp_path):
    file = tmp_path / "recorded.json"
    file.write_text(
        '{"machine": "m", "scenarios": {"replica": {"figures": {"eventmesh": {"start": {"0": 3, '
        '"1": 1, "2": 2}, "duration": {"0": 100}, "rate": {"0": 90}}}}, "passing": {"figures": '
        '{"queue": {"rate": {"0": 5}}, "node": {"rate": {"0": 6}}, "cluster": {"rate": {"0": 7}}'
        "}}}}"
    )
    read = read_recorded(file)
    assert (read.start, read.duration, read.queue, read.node) == (2, 0.1, 5, 6)
    assert read.own_machines == 21
