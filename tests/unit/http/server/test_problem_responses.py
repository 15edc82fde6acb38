import pytest

from eventmesh.http.server.response import BytesResponse
from eventmesh.http.server.streaming import prefers_events


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x-id", "1\r\nSet-Cookie: stolen=1"),
        ("x-id", "1\n"),
        ("x-id", "nul\0"),
        ("x id", "1"),
        ("x-id:", "1"),
        ("", "1"),
        ("x-id", "snow ☃"),
    ],
)
def test_a_header_that_would_break_the_answer_is_refused(name, text):
    with pytest.raises(ValueError, match="HTTP cannot carry"):
        BytesResponse(200, headers={name: text})


def test_each_value_of_a_header_is_checked():
    with pytest.raises(ValueError, match="HTTP cannot carry"):
        BytesResponse(200, headers={"Set-Cookie": ["a=1", "b=2\r\nX-Stolen: 1"]})


def test_a_content_type_that_would_break_the_answer_is_refused():
    with pytest.raises(ValueError, match="HTTP cannot carry"):
        BytesResponse(200, b"", "text/plain\r\nSet-Cookie: stolen=1")


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/event-stream", True),
        ("Text/Event-Stream", True),
        ("text/event-stream, */*", True),
        ("text/event-stream;q=0.5, application/x-ndjson", False),
        ("application/x-ndjson;q=0.5, text/event-stream;q=0.9", True),
        ("application/x-ndjson, text/event-stream", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=much", False),
    ],
)
def test_events_are_sent_to_whom_asks_for_them(accept, events):
    assert prefers_events(accept) is events
