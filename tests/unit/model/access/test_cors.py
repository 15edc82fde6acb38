import pytest

from eventmesh import Cors, DeclarationError, Service
from eventmesh.model.access.cors import MAX_NAMES, read_cors

OWN = "https://shop.example"


def test_names_are_compared_as_browsers_write_them():
    cors = Cors(["HTTPS://Shop.example"], ["get"], ["X-Team"], expose=["X-Total"], max_age="1h")
    assert (cors.origins, cors.methods) == ((OWN,), ("GET",))
    assert (cors.headers, cors.expose, cors.max_age) == (("x-team",), ("x-total",), 3600.0)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"origins": ["*"], "credentials": True}, "would let every page do so"),
        ({"origins": ["*", OWN], "credentials": True}, "would let every page do so"),
        ({"origins": [OWN], "credentials": True, "expose": ["*"]}, "list the headers"),
        ({"origins": []}, "origins is empty"),
        ({"origins": OWN}, "no list"),
        ({"origins": None}, "no list"),
        ({"origins": [1]}, "no list"),
        ({"origins": [OWN] * (MAX_NAMES + 1)}, "no list"),
        ({"origins": ["null"]}, "no origin"),
        ({"origins": ["shop.example"]}, "no origin"),
        ({"origins": [f"{OWN}/"]}, "no origin"),
        ({"origins": ["ftp://shop.example"]}, "no origin"),
        ({"origins": ["https://*"]}, "no origin"),
        ({"origins": ["https://a.*.example"]}, "no origin"),
        ({"origins": ["https://shop.example\r\nX-Evil: 1"]}, "no origin"),
        ({"origins": [f"{OWN}:443"]}, "leave it out"),
        ({"origins": ["http://shop.example:80"]}, "leave it out"),
        ({"origins": [OWN], "methods": ["TRACE"]}, "none of the methods"),
        ({"origins": [OWN], "headers": ["a b"]}, "no name of a header"),
        ({"origins": [OWN], "expose": ["a\r\nX-Evil"]}, "no name of a header"),
        ({"origins": [OWN], "credentials": "yes"}, "neither True nor False"),
        ({"origins": [OWN], "max_age": "soon"}, "max_age"),
        ({"origins": [OWN], "max_age": -1}, "max_age"),
    ],
)
def test_what_cannot_work_is_refused_with_advice(options, advice):
    with pytest.raises(DeclarationError, match=advice):
        Cors(**options)


def test_it_is_announced_and_read_again():
    cors = Cors([OWN], ["GET"], ["x-team"], True, "1h", ["x-total"])
    assert read_cors(cors.describe()) == cors
    assert read_cors({"origins": [OWN], "later": 1}) == Cors([OWN])
    for announced in ({}, {"origins": ["evil\n"]}, {"origins": [OWN], "max_age": []}):
        with pytest.raises(DeclarationError):
            read_cors(announced)


def test_a_service_has_one():
    assert Service("a").cors is None
    with pytest.raises(DeclarationError, match=r"write cors=Cors"):
        Service("a", cors=["*"])
