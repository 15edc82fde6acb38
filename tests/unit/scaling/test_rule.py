import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.model.errors import SettingsError
from eventmesh.scaling.rule import NO_MEMORY, Demand, Observation, Rule, decide, find_need

demands = st.builds(
    Demand,
    function=st.just("orders.place"),
    arriving=st.floats(0, 10_000),
    duration=st.none() | st.floats(0, 900),
    waiting=st.integers(0, 5_000_000),
    running=st.integers(0, 10_000),
    slots=st.integers(1, 1_000),
    reserved=st.none() | st.integers(1, 100),
)
rules = st.builds(
    lambda minimum, more, **others: Rule(minimum, max(minimum + more, 1), **others),
    minimum=st.integers(0, 20),
    more=st.integers(0, 100),
    latency=st.floats(0.01, 600),
    utilisation=st.floats(0.05, 1),
    calm=st.floats(0, 3600),
)
FRESH = st.just(0.0)
replicas = st.integers(0, 200)
keepers = st.sampled_from(["", "the timer of orders.report"])


@st.composite
def observations(draw, at=1000.0, ages=FRESH):
    known = draw(st.none() | st.lists(demands, max_size=4).map(tuple))
    return Observation(at, draw(ages), known, draw(keepers))


@st.composite
def histories(draw):
    """Observations of one service, one after the other, and what was made of each."""
    moments = draw(st.lists(st.floats(0.1, 120), min_size=1, max_size=12))
    at, seen = 0.0, []
    for step in moments:
        at += step
        seen.append(draw(observations(at=at, ages=st.sampled_from([0.0, 0.0, 2.0, 99.0]))))
    return seen


@given(replicas, observations(), rules)
def test_it_stays_within_the_bounds(current, seen, rule):
    assert rule.minimum <= decide(current, seen, rule).replicas <= rule.maximum


@given(replicas, observations(ages=st.floats(10.1, 1e9) | st.just(math.inf)), rules)
def test_it_never_scales_on_stale_figures(current, seen, rule):
    decision = decide(current, seen, rule)
    assert (decision.replicas, decision.kind) == (current, "hold")
    assert decision.memory == NO_MEMORY


@given(demands, rules, st.floats(0, 1000), st.integers(0, 1000))
def test_more_work_never_needs_fewer(demand, rule, faster, longer):
    more = Demand(
        demand.function,
        demand.arriving + faster,
        demand.duration,
        demand.waiting + longer,
        demand.running,
        demand.slots,
        demand.reserved,
    )
    need, needed = (find_need(Observation(0, 0, (each,)), rule) for each in (demand, more))
    assert needed.replicas >= need.replicas


@given(demands, rules)
def test_what_runs_keeps_its_slots(demand, rule):
    need = find_need(Observation(0, 0, (demand,)), rule)
    most = demand.running if demand.reserved is None else min(demand.running, demand.reserved)
    assert need.replicas * demand.slots >= most


@given(histories(), rules, replicas)
def test_it_goes_in_only_if_no_more_was_needed_for_a_whole_calm_window(history, rule, current):
    memory, fresh, needed = NO_MEMORY, None, []
    for seen in history:
        decision = decide(current, seen, rule, memory)
        if seen.age > rule.stale:
            fresh, needed = None, []
        else:
            fresh = seen.at if fresh is None else fresh
            if seen.demands is None:
                fresh, needed = seen.at, []
            else:
                needed.append((seen.at, find_need(seen, rule).replicas))
        if decision.replicas < min(current, rule.maximum):
            assert decision.kind == "in"
            assert seen.at - fresh >= rule.calm
            assert decision.replicas >= min(
                max(need for at, need in needed if seen.at - at <= rule.calm), rule.maximum
            )
        current, memory = decision.replicas, decision.memory


@given(replicas, observations(), rules)
def test_once_it_was_followed_it_holds(current, seen, rule):
    decision = decide(current, seen, rule)
    again = decide(decision.replicas, seen, rule, decision.memory)
    assert (again.replicas, again.kind) == (decision.replicas, "hold")


@given(histories(), rules, replicas)
def test_it_remembers_little_and_says_why(history, rule, current):
    memory = NO_MEMORY
    for seen in history:
        decision = decide(current, seen, rule, memory)
        assert decision.reason
        change = decision.replicas - current
        assert decision.kind == ("out" if change > 0 else "in" if change < 0 else "hold")
        current, memory = decision.replicas, decision.memory
        heights = [need.replicas for _, need in memory.needs]
        assert heights == sorted(set(heights), reverse=True)


def decided(current, *demands, rule=None, **others):
    return decide(current, Observation(0.0, 0.0, demands, **others), rule or Rule()).replicas


def test_as_many_slots_as_littles_law_says():
    # 100/s of 0.2 s are 20 at once; 5 at once a replica, of which 80 % are used.
    assert decided(0, Demand("a.b", arriving=100, duration=0.2, slots=5)) == 5


def test_what_waits_is_begun_within_the_latency():
    # 600 of 0.1 s in 2 s: 30 at once.
    rule = Rule(latency=2.0, utilisation=1.0, maximum=100)
    assert decided(0, Demand("a.b", duration=0.1, waiting=600), rule=rule) == 30


def test_what_waits_takes_one_slot_at_most_however_long_it_runs():
    rule = Rule(utilisation=1.0, maximum=100)
    assert decided(0, Demand("a.b", duration=60.0, waiting=5), rule=rule) == 5


def test_one_message_starts_one_from_zero():
    assert decided(0, Demand("a.b", waiting=1, slots=100)) == 1


def test_of_several_functions_the_one_that_needs_most_counts():
    one, other = Demand("a.b", 10, 1.0, slots=1), Demand("a.c", 10, 0.1, slots=1)
    rule = Rule(utilisation=1.0, maximum=100)
    assert decided(0, one, other, rule=rule) == 10


def test_no_more_than_may_run_at_once_in_the_mesh():
    assert decided(0, Demand("a.b", 100, 1.0, slots=2, reserved=4), rule=Rule(maximum=99)) == 2


def test_what_only_a_process_does_keeps_one():
    rule = Rule(calm=0)
    assert decided(1, kept_by="a timer", rule=rule) == 1
    assert decided(1, rule=rule) == 0


def test_an_unknown_service_is_started_once_to_tell_what_it_serves():
    unknown = Observation(0.0, 0.0, None)
    assert decide(0, unknown, Rule()).replicas == 1
    assert decide(3, unknown, Rule()).replicas == 3


def test_it_goes_to_zero_after_the_window_and_not_before():
    rule, idle = Rule(calm=60), Demand("a.b")
    decision = decide(2, Observation(0.0, 0.0, (idle,)), rule)
    assert decision.replicas == 2
    assert "60 s" in decision.reason
    decision = decide(2, Observation(59.0, 0.0, (idle,)), rule, decision.memory)
    assert decision.replicas == 2
    decision = decide(2, Observation(60.0, 0.0, (idle,)), rule, decision.memory)
    assert (decision.replicas, decision.kind) == (0, "in")


def test_more_than_the_maximum_go_at_once_and_the_rest_as_always():
    idle = Observation(0.0, 0.0, (Demand("a.b"),))
    assert decide(9, idle, Rule(maximum=4)).replicas == 4
    assert decide(9, idle, Rule(maximum=4, calm=0)).replicas == 0


def test_a_gap_in_the_figures_begins_the_window_anew():
    rule, idle = Rule(calm=60), Demand("a.b")
    decision = decide(2, Observation(0.0, 0.0, (idle,)), rule)
    decision = decide(2, Observation(30.0, 11.0, (idle,)), rule, decision.memory)
    decision = decide(2, Observation(61.0, 0.0, (idle,)), rule, decision.memory)
    assert decision.replicas == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum": 3, "maximum": 2},
        {"minimum": -1},
        {"maximum": 0},
        {"maximum": 10_001},
        {"latency": 0},
        {"utilisation": 1.5},
        {"calm": -1},
        {"stale": 0},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(SettingsError):
        Rule(**wrong)
