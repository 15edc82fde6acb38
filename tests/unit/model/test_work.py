import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.model.work import DURATIONS, MAX_COUNT, NOTHING, Work, check_work, find_quantile

counts = st.integers(0, 10_000)
works = st.builds(
    Work,
    ended=counts,
    failed=counts,
    items=counts,
    seconds=st.integers(0, 10_000).map(float),
    durations=st.lists(counts, max_size=len(DURATIONS) + 1).map(tuple),
)


def trimmed(work):
    """Its buckets without those at the end that count nothing."""
    durations = list(work.durations)
    while durations and not durations[-1]:
        durations.pop()
    return (work.ended, work.failed, work.items, work.seconds, durations)


@given(works, works)
def test_what_was_added_is_what_was_done_since(earlier, more):
    assert trimmed(earlier.plus(more).since(earlier)) == trimmed(more)


@given(works, works)
def test_nothing_done_is_below_zero(one, other):
    check_work(one.since(other))


@given(works)
def test_nothing_adds_nothing(work):
    assert work.plus(NOTHING) == work


@pytest.mark.parametrize(
    "work",
    [
        Work(ended=-1),
        Work(failed=MAX_COUNT + 1),
        Work(seconds=-0.5),
        Work(seconds=math.nan),
        Work(seconds=math.inf),
        Work(durations=(0,) * (len(DURATIONS) + 2)),
        Work(durations=(-1,)),
    ],
)
def test_counts_that_no_process_has_are_refused(work):
    with pytest.raises(ValueError, match=r"work|buckets"):
        check_work(work)


def test_a_quantile_is_the_bound_below_which_so_many_are():
    durations = [0] * (len(DURATIONS) + 1)
    durations[0], durations[5] = 99, 1
    assert find_quantile(durations, 0.99) == DURATIONS[0]
    assert find_quantile(durations, 0.991) == DURATIONS[5]
    durations[-1] = 10
    assert find_quantile(durations, 0.99) == math.inf
    assert find_quantile([], 0.99) == 0.0
