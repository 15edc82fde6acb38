from dataclasses import field, replace

import pytest

from eventmesh.model.event import Event
from eventmesh.model.invocation import Batch, HttpRequest, Invocation, RouteTemplate
from eventmesh.model.message import NO_HEADERS, Message
from eventmesh.model.result import Result
from eventmesh.model.value import constructor, copier, value

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


def test_a_constructor_takes_what_the_class_takes():
    make = constructor(Point)
    assert make(1) == make(x=1) == make(1, y=0) == Point(1)
    assert make(y=2, x=1) == Point(1, 2)
    with pytest.raises(TypeError, match="'z'"):
        make(1, z=2)
    with pytest.raises(TypeError, match="'x'"):
        make(y=2)


def test_a_copier_changes_the_named_fields_alone():
    point = Point(1, 2)
    assert (copier(Point, "y")(point, y=3), point) == (Point(1, 3), Point(1, 2))
    assert copier(Point, "x", "y")(point, x=0, y=0) == Point(0, 0)


def test_a_copier_refuses_fields_that_do_not_exist():
    with pytest.raises(TypeError, match=r"Point has no fields \['z'\] to change in a copy"):
        copier(Point, "x", "z")


@value
class Checked:
    x: int

    def __post_init__(self):
        raise AssertionError


@value
class Made:
    xs: list[int] = field(default_factory=list)


@pytest.mark.parametrize("cls", [Checked, Made])
def test_what_computes_fields_when_it_is_made_has_neither(cls):
    with pytest.raises(TypeError, match=f"{cls.__name__} computes fields when it is made"):
        constructor(cls)
    with pytest.raises(TypeError, match=f"{cls.__name__} computes fields when it is made"):
        copier(cls, "x")


@pytest.mark.parametrize(
    "thing",
    [
        Message(SECRET.encode(), "id-1", 0.0, headers=HEADERS),
        Invocation(
            "a.b", "id-1", SECRET.encode(), 0.0, headers=HEADERS, batch=Batch([SECRET.encode()])
        ),
        HttpRequest(
            RouteTemplate("GET /", (), False),
            "GET",
            f"/x?token={SECRET}",
            {},
            {"token": [SECRET]},
            HEADERS,
        ),
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
    with pytest.raises(TypeError, match="use a dict of your own"):
        NO_HEADERS["a"] = "b"
    assert NO_HEADERS == {} == Message(b"", "id-1", 0.0).headers
