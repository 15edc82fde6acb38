from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from eventmesh.model.errors import DeclarationError, PayloadInvalid
from eventmesh.model.event import (
    Event,
    check_pattern,
    check_type,
    event_from,
    event_headers,
    matches,
    parse_event_time,
)

WORDS = st.sampled_from(["a", "b", "ab", "a+", "é"])
TYPES = st.lists(WORDS, min_size=1, max_size=6).map(".".join)
PATTERNS = st.lists(WORDS | st.sampled_from("*#"), min_size=1, max_size=6).map(".".join)


def reference(pattern: list[str], words: list[str]) -> bool:
    """Topic matching as AMQP 0-9-1 says it (section 3.1.3.3), word by word."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(reference(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in {"*", words[0]} and reference(pattern[1:], words[1:])


@given(PATTERNS, TYPES)
def test_patterns_match_as_in_a_topic_exchange(pattern, type):
    assert matches(pattern, type) == reference(pattern.split("."), type.split("."))


@given(TYPES, st.data())
def test_a_pattern_made_of_a_type_matches_it(type, data):
    words = type.split(".")
    start = data.draw(st.integers(0, len(words)))
    end = data.draw(st.integers(start, len(words)))
    assert matches(".".join([*words[:start], "#", *words[end:]]), type)
    assert matches(".".join([*words[:start], *"*" * (end - start), *words[end:]]), type)


@pytest.mark.parametrize(
    ("pattern", "type", "expected"),
    [
        ("order.placed", "order.placed", True),
        ("order.placed", "order.placed.twice", False),
        ("order.placed", "orderXplaced", False),
        ("order.*", "order.placed", True),
        ("order.*", "order", False),
        ("order.*", "order.placed.twice", False),
        ("order.#", "order", True),
        ("order.#", "order.placed.twice", True),
        ("order.#", "orders.placed", False),
        ("#.placed", "placed", True),
        ("#.placed", "order.placed", True),
        ("#.placed", "order.misplaced", False),
        ("#", "order.placed", True),
        ("#.#", "order", True),
        ("*.#", "order", True),
        ("#.a.#.ab", "ab.a.ab", True),
        ("#.a.#", "ab.b", False),
    ],
)
def test_some_patterns(pattern, type, expected):
    assert matches(pattern, type) is expected


def test_a_pattern_of_many_hashes_is_matched_in_reasonable_time():
    # Trying every way to share the words among the '#' would take longer than the universe is old.
    assert not matches("#.a." * 60 + "b", "a." * 120 + "a")
    assert matches("#.a." * 60 + "b", "a." * 120 + "b")


@pytest.mark.parametrize(
    "type", ["a", "order.placed", "com.example.Order-placed_v2", "é", "a" * 255]
)
def test_a_type_is_words_with_dots_between(type):
    assert check_type(type) == type
    assert check_pattern(type) == type


@pytest.mark.parametrize(
    "type",
    ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a\x00", "\ud800", "a" * 256, "é" * 128],
)
def test_a_type_that_is_none_is_refused(type):
    with pytest.raises(DeclarationError, match="write words with dots between them"):
        check_type(type)
    with pytest.raises(DeclarationError, match="write words with dots between them"):
        check_pattern(type)


@pytest.mark.parametrize("pattern", ["*", "#", "a.*", "*.a.#", "#.#", "*.*"])
def test_a_pattern_may_have_wildcards_for_words_and_a_type_none(pattern):
    assert check_pattern(pattern) == pattern
    with pytest.raises(DeclarationError, match=r"without '\*', '#'"):
        check_type(pattern)


@pytest.mark.parametrize("pattern", ["a*", "*a", "##", "**", "a.#b", "a.**"])
def test_a_wildcard_stands_for_whole_words(pattern):
    with pytest.raises(DeclarationError, match="is not an event pattern"):
        check_pattern(pattern)


@given(st.text())
@example("order.placed")
def test_what_is_a_type_is_a_pattern_that_matches_itself(text):
    try:
        check_type(text)
    except DeclarationError:
        assume(False)
    assert matches(check_pattern(text), text)


def read(headers, created=0.0):
    return event_from("order.placed", "id-1", 7, "application/json", headers, created=created)


@given(st.floats(0, 7e9), st.text(), st.text())
def test_an_event_survives_its_headers(time, source, subject):
    event = read(event_headers(source, time, subject=subject))
    assert event.time.timestamp() == pytest.approx(time, abs=1e-6)
    assert event == Event("order.placed", 7, "id-1", source, event.time, subject)


def test_an_event_is_written_with_the_attributes_of_cloudevents():
    assert event_headers("/shop.place", 1709208000.5, subject="order/7") == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:source": "/shop.place",
        "cloudEvents:time": "2024-02-29T12:00:00.500000Z",
        "cloudEvents:subject": "order/7",
    }


def test_missing_attributes_get_the_nearest_true_value():
    event = read({"traceparent": "00-…"}, created=1709208000.0)
    assert event == Event(
        "order.placed", 7, "id-1", "eventmesh", datetime(2024, 2, 29, 12, tzinfo=UTC)
    )


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
def test_the_attributes_of_a_foreign_event_are_the_truth(prefix):
    event = read(
        {
            f"{prefix}{name}": text
            for name, text in {
                "specversion": "1.0",
                "id": "theirs",
                "type": "com.example.placed",
                "source": "//example.com",
                "time": "2024-02-29T13:00:00+01:00",
                "datacontenttype": "text/plain",
                "sequence": "12",
            }.items()
        }
    )
    assert event == Event(
        "com.example.placed",
        7,
        "theirs",
        "//example.com",
        datetime(2024, 2, 29, 12, tzinfo=UTC),
        content_type="text/plain",
        extensions={"sequence": "12"},
    )


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("2024-02-29t12:00:00z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("2024-02-29 12:00:00.25-03:30", datetime(2024, 2, 29, 15, 30, 0, 250_000, tzinfo=UTC)),
        (
            "2024-02-29T12:00:00.123456789Z",
            datetime(2024, 2, 29, 12, microsecond=123_456, tzinfo=UTC),
        ),
    ],
)
def test_a_time_is_an_rfc_3339_timestamp(text, time):
    assert parse_event_time(text, 0.0) == time


def test_a_time_keeps_its_offset():
    time = parse_event_time("2024-02-29T12:00:00+02:00", 0.0)
    assert time.tzinfo == timezone(timedelta(hours=2))


@pytest.mark.parametrize("text", ["yesterday", "1709208000", "2024-02-30T00:00:00Z", "١٢"])
@pytest.mark.parametrize("created", [0.0, 1e300])
def test_a_time_that_is_none_is_an_invalid_payload(text, created):
    with pytest.raises(PayloadInvalid, match="time: not an RFC 3339 timestamp") as caught:
        read({"cloudEvents:time": text}, created=created)
    assert caught.value.errors[0]["loc"] == ("time",)


def test_a_time_without_an_offset_is_refused():
    with pytest.raises(PayloadInvalid, match="RFC 3339"):
        parse_event_time("2024-02-29T12:00:00", 0.0)


@pytest.mark.parametrize("created", [1.7e12, 1e300, float("inf"), float("nan")])
def test_a_foreign_timestamp_that_is_no_date_is_an_invalid_payload(created):
    with pytest.raises(PayloadInvalid, match="RFC 3339"):
        parse_event_time("", created)


@given(st.text(), st.floats())
def test_any_time_is_a_moment_with_an_offset_or_an_invalid_payload(text, created):
    try:
        time = parse_event_time(text, created)
    except PayloadInvalid:
        return
    assert time.tzinfo is not None
