import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eventmesh.model.errors import SettingsError
from eventmesh.model.work import NOTHING, Work
from eventmesh.rollout.rule import Bounds, Figures, find_replicas, judge

BOUNDS = Bounds(bake=60.0, max_errors=0.05, max_p99=0.5, least=20)


def work(ended, failed=0, bucket=3):
    durations = [0] * 12
    durations[bucket] = ended
    return Work(ended, failed, ended, 0.1 * ended, tuple(durations))


@given(st.integers(0, 50), st.floats(0.01, 0.99))
def test_the_share_is_never_above_what_was_asked_for(current, share):
    found = find_replicas(current, share, 100_000)
    assert found.share <= share + 1e-6
    assert found.old >= max(current, 1)
    assert found.new >= 1


@given(st.integers(0, 50), st.floats(0.01, 0.99))
def test_no_new_replica_more_would_be_within_the_share(current, share):
    found = find_replicas(current, share, 100_000)
    assert (found.new + 1) / (found.old + found.new + 1) > share - 1e-6


@given(st.integers(0, 50), st.floats(0.01, 0.99), st.integers(1, 60))
def test_more_than_allowed_is_refused(current, share, most):
    assume(sum((found := find_replicas(current, share, 100_000), found.old + found.new)[1:]) > most)
    with pytest.raises(SettingsError, match="--max-replicas"):
        find_replicas(current, share, most)


@pytest.mark.parametrize(
    ("current", "share", "old", "new"),
    [
        (1, 0.5, 1, 1),
        (3, 0.25, 3, 1),
        (1, 0.25, 3, 1),
        (9, 0.1, 9, 1),
        (2, 0.1, 9, 1),
        (8, 0.5, 8, 8),
    ],
)
def test_shares_that_people_ask_for(current, share, old, new):
    found = find_replicas(current, share, 20)
    assert (found.old, found.new) == (old, new)


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1])
def test_a_share_is_between_nothing_and_all(share):
    with pytest.raises(SettingsError):
        find_replicas(1, share, 20)


@pytest.mark.parametrize(
    ("figures", "step", "because"),
    [
        (Figures(5, None, NOTHING), "wait", "starts"),
        (Figures(121, None, NOTHING), "roll back", "120 s"),
        (Figures(0, 10, work(100)), "wait", "50 s"),
        (Figures(0, 60, work(100)), "promote", "100 invocations"),
        (Figures(0, 60, work(10)), "wait", "of 20"),
        (Figures(0, 601, work(10)), "roll back", "too few"),
        (Figures(0, 1, work(20, failed=1)), "wait", "1 failed"),
        (Figures(0, 1, work(20, failed=2)), "roll back", "5.0%"),
        (Figures(0, 1, work(19, failed=19)), "wait", "19 failed"),
        (Figures(0, 1, work(50, bucket=9)), "roll back", "500 ms"),
        (Figures(0, 1, work(50, bucket=8)), "wait", "500 ms"),
        (Figures(0, 61, work(50), missing=5), "wait", "not all"),
        (Figures(0, 10, work(50), missing=31), "roll back", "missing"),
    ],
)
def test_what_follows(figures, step, because):
    verdict = judge(figures, BOUNDS)
    assert verdict.step == step
    assert because in verdict.reason


@given(
    st.floats(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.floats(0, 100),
)
def test_what_is_above_a_bound_is_never_promoted(age, ended, failed, missing):
    verdict = judge(Figures(0, age, work(ended, min(failed, ended)), missing), BOUNDS)
    if verdict.step == "promote":
        assert age >= BOUNDS.bake
        assert ended >= BOUNDS.least
        assert min(failed, ended) <= BOUNDS.max_errors * ended
        assert not missing
