import contextlib
from datetime import timedelta
from decimal import Decimal
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.model.duration import format_seconds, seconds
from eventmesh.model.errors import DeclarationError

CENTURY = 100 * 365.25 * 86400


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (0, 0.0),
        (30, 30.0),
        (0.25, 0.25),
        ("0s", 0.0),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("6h", 21600.0),
        ("2d", 172800.0),
        ("1w", 604800.0),
        ("1h30m", 5400.0),
        (" 1h 30m ", 5400.0),
        ("10 s", 10.0),
        (timedelta(minutes=2, milliseconds=250), 120.25),
    ],
)
def test_what_users_write_is_seconds(duration, expected):
    result = seconds(duration)
    assert result == pytest.approx(expected)
    assert type(result) is float


@pytest.mark.parametrize(
    "duration",
    [
        -1,
        -0.001,
        inf,
        nan,
        10**400,
        2 * CENTURY,
        timedelta(seconds=-1),
        timedelta.max,
        "99999w",
        "9" * 400 + "s",
        True,
        None,
        b"30s",
        Decimal(3),
        "",
        "30",
        "s",
        "-5s",
        "+5s",
        ".5s",
        "1.s",
        "1.2.3s",
        "1e3s",
        "1,5s",
        "5 minutes",
        "30S",
        "1h-30m",
        "1h30",
        "1h, 30m",
        "٣s",
        "nans",
        "infs",
    ],
)
def test_what_is_no_duration_is_refused_by_name(duration):
    with pytest.raises(DeclarationError, match=r"^timeout cannot be .*(write|must be)"):
        seconds(duration, "timeout")


@given(st.floats(0, CENTURY))
def test_seconds_stay_what_they_are(number):
    assert seconds(number) == number


@given(st.timedeltas(timedelta(0), timedelta(days=36_500)))
def test_a_timedelta_is_its_seconds(delta):
    assert seconds(delta) == delta.total_seconds()


@given(
    st.lists(st.tuples(st.integers(0, 59), st.sampled_from("smhd")), min_size=1, max_size=5),
    st.sampled_from(["", " ", "  "]),
)
def test_a_text_is_the_sum_of_its_parts(parts, space):
    text = space.join(f"{number}{space}{unit}" for number, unit in parts)
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    assert seconds(text) == sum(number * units[unit] for number, unit in parts)


@given(st.text("0123456789.smhdw +-e") | st.text())
def test_any_text_is_a_duration_or_refused(text):
    with contextlib.suppress(DeclarationError):
        assert 0 <= seconds(text) <= CENTURY


@pytest.mark.parametrize(
    ("duration", "text"),
    [(5, "5 s"), (4.99995, "5 s"), (0.999948, "1 s"), (0.05, "0.05 s"), (90.25, "90.25 s")],
)
def test_people_read_rounded_seconds(duration, text):
    assert format_seconds(duration) == text
