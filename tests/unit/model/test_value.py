from dataclasses import replace

import pytest

from eventmesh.model.event import Event
from eventmesh.model.invocation import HttpRequest, Invocation
from eventmesh.model.message import NO_HEADERS, Message
from eventmesh.model.result import Result
from eventmesh.model.value import value

SECRET = "hunter2"
HEADERS = {"authorization": SECRET}


@value
class Point:
    x: int
    y: int = 0


def test_a_value_is_equal_to_one_of_the_same_fields():
    assert Point(1) == Point(1, 0) != Point(1, 1)


def test_a_value_is_found_in_a_set():
    assert len({Point(1), Point(1, 0), Point(1, 1)}) == 2


def test_a_value_has_its_fields_and_no_others():
    with pytest.raises(AttributeError):
        Point(1).z = 2


def test_a_changed_copy_leaves_the_value_as_it_was():
    point = Point(1)
    assert (replace(point, y=2), point) == (Point(1, 2), Point(1, 0))


@pytest.mark.parametrize(
    "thing",
    [
        Message(SECRET.encode(), "id-1", 0.0, headers=HEADERS),
        Invocation("a.b", "id-1", SECRET.encode(), 0.0, headers=HEADERS, batch=[SECRET.encode()]),
        HttpRequest("GET", f"/x?token={SECRET}", {}, {"token": [SECRET]}, HEADERS),
        Result(SECRET.encode(), headers=HEADERS),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_a_repr_has_neither_payload_nor_headers(thing):
    assert SECRET not in repr(thing)
    assert repr(thing).startswith(f"{type(thing).__name__}(")


def test_the_repr_of_an_event_shows_its_data_for_the_user_reads_it():
    assert "data=7" in repr(Event("a", 7, "id-1", "/a", None))


def test_no_headers_are_shared_and_stay_empty():
    with pytest.raises(TypeError, match="make a dict"):
        NO_HEADERS["a"] = "b"
    assert NO_HEADERS == {} == Message(b"", "id-1", 0.0).headers
