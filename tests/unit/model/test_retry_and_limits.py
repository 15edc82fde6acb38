from datetime import timedelta
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.model.errors import DeclarationError
from eventmesh.model.limits import Limits
from eventmesh.model.retry import Retry

RETRIES = st.builds(
    lambda initial, more, **options: Retry(initial=initial, maximum=initial + more, **options),
    initial=st.just(0.0) | st.floats(0.001, 1e6),
    more=st.floats(0, 1e6),
    attempts=st.integers(1, 10_000),
    factor=st.floats(1, 1e308),
    jitter=st.sampled_from(["full", "equal", "none"]),
)


def plain(retry, attempt):
    """The wait without jitter, one multiplication after the other."""
    wait = retry.initial
    for _ in range(attempt - 1):
        wait *= retry.factor
        if wait >= retry.maximum:
            return retry.maximum
    return wait


@given(RETRIES, st.integers(1, 2000))
def test_a_delay_is_within_what_its_jitter_allows(retry, attempt):
    wait = plain(retry, attempt)
    low = {"full": 0.0, "equal": wait / 2, "none": wait}[retry.jitter]
    assert low * (1 - 1e-9) <= retry.delay(attempt) <= wait * (1 + 1e-9)


@given(RETRIES)
def test_a_delay_is_a_finite_number_however_many_attempts(retry):
    assert 0 <= retry.delay(2**31) <= retry.maximum


def test_delays_grow_by_the_factor_up_to_the_maximum():
    retry = Retry(6, initial=1, factor=3, maximum=30, jitter="none")
    assert [retry.delay(attempt) for attempt in range(1, 7)] == [1, 3, 9, 27, 30, 30]


def test_a_small_factor_goes_on_growing():
    retry = Retry(200, initial=1, factor=1.05, maximum=300, jitter="none")
    assert retry.delay(100) == pytest.approx(1.05**99)
    assert retry.delay(200) == 300


@pytest.mark.parametrize(("jitter", "least"), [("full", 0), ("equal", 5), ("none", 10)])
def test_jitter_spreads_over_what_it_may(jitter, least):
    retry = Retry(initial=10, jitter=jitter)
    delays = [retry.delay(1) for _ in range(1000)]
    assert least <= min(delays) <= least + 1
    assert 9 <= max(delays) <= 10


def test_no_initial_wait_is_no_wait_at_all():
    retry = Retry(10**6, initial=0)
    assert retry.delay(10**6) == 0


def test_durations_are_seconds_whatever_they_were_written_as():
    retry = Retry(initial="500ms", maximum=timedelta(minutes=1), max_age="1d")
    assert (retry.initial, retry.maximum, retry.max_age) == (0.5, 60.0, 86400.0)


def test_a_repr_says_all():
    assert repr(Retry(5, initial="500ms", jitter="full")) == (
        "Retry(attempts=5, initial=0.5, factor=2, maximum=300, jitter='full', max_age=21600)"
    )


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"attempts": 0}, "write 1 for no retry"),
        ({"attempts": -3}, "write 1 for no retry"),
        ({"attempts": 2.5}, "write 1 for no retry"),
        ({"attempts": True}, "write 1 for no retry"),
        ({"factor": 0.5}, "use 1 or more"),
        ({"factor": nan}, "use 1 or more"),
        ({"factor": inf}, "use 1 or more"),
        ({"jitter": "some"}, "choose 'full', 'equal' or 'none'"),
        ({"initial": "soon"}, "Retry.initial cannot be 'soon'"),
        ({"maximum": -1}, "Retry.maximum cannot be -1"),
        ({"max_age": nan}, "Retry.max_age cannot be nan"),
        ({"initial": "10m"}, "raise maximum or lower initial"),
        ({"maximum": "500ms"}, "raise maximum or lower initial"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused_with_advice(options, advice):
    with pytest.raises(DeclarationError, match=advice):
        Retry(**options)


def test_the_defaults_of_limits_are_limits():
    assert Limits() == Limits(30.0, 100, None, 100, 6 * 1024 * 1024)


@pytest.mark.parametrize(
    "limits",
    [
        {"timeout": None},
        {"timeout": 0.001},
        {"concurrency": 1},
        {"reserved_concurrency": 1},
        {"max_pending": 0},
        {"max_payload": 1},
        {"max_nodes": 1},
    ],
)
def test_the_least_that_a_limit_can_be(limits):
    assert Limits(**limits) != Limits()


@pytest.mark.parametrize(
    "name", ["concurrency", "reserved_concurrency", "max_pending", "max_payload", "max_nodes"]
)
@pytest.mark.parametrize("number", [-1, 0.5, nan, "3", True])
def test_a_limit_that_counts_is_a_whole_number(name, number):
    with pytest.raises(DeclarationError, match=f"^{name}={number!r}: it .* or more"):
        Limits(**{name: number})


@pytest.mark.parametrize(
    "name", ["concurrency", "reserved_concurrency", "max_payload", "max_nodes"]
)
def test_a_limit_of_nothing_is_refused(name):
    with pytest.raises(DeclarationError, match=f"^{name}=0: "):
        Limits(**{name: 0})


@pytest.mark.parametrize("timeout", [0, -1, nan, inf])
def test_a_timeout_in_which_nothing_can_run_is_refused(timeout):
    with pytest.raises(DeclarationError, match="write None for no limit"):
        Limits(timeout=timeout)
