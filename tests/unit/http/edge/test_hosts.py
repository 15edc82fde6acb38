import pytest

from eventmesh.http.edge.door import build_edge
from eventmesh.http.edge.hosts import build_host_check
from eventmesh.model.errors import Problem
from eventmesh.model.settings import Settings


def status(host, **settings):
    """The status with which that host is refused; None if it is not."""
    check = build_host_check(Settings(**settings))
    try:
        check(host)
    except Problem as problem:
        return problem.status
    return None


@pytest.mark.parametrize("listening_on", ["127.0.0.1", "localhost", "::1"])
@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("localhost", None),
        ("LOCALHOST:8080", None),
        ("127.0.0.1:8080", None),
        ("127.0.0.53", None),
        ("[::1]:8080", None),
        ("rebind.evil.example", 421),
        ("rebind.evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("10.0.0.1", 421),
        ("0.0.0.0", 421),
        ("", None),
        ("localhost@evil.example", 400),
        ("[::1", 400),
    ],
)
def test_a_local_address_answers_for_local_names(listening_on, host, refused):
    assert status(host, http_host=listening_on) == refused


def test_another_address_answers_for_any_name():
    assert build_host_check(Settings(http_host="0.0.0.0")) is None


@pytest.mark.parametrize("http_host", ["127.0.0.1", "0.0.0.0"])
def test_names_that_are_set_take_the_place_of_the_default(http_host):
    names = {"http_host": http_host, "allowed_hosts": ("shop.example", "*.shop.example")}
    assert status("shop.example:8080", **names) is None
    assert status("eu.shop.example", **names) is None
    assert status("localhost", **names) == 421
    assert status("evil.example", **names) == 421
    assert status("", **names) == 400


def test_a_problem_says_what_to_do():
    check = build_host_check(Settings())
    with pytest.raises(Problem, match="EVENTMESH_ALLOWED_HOSTS"):
        check("shop.example")


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, b""),
        ({"http_tls_certificate": "a.pem"}, b""),
        (
            {"http_tls_certificate": "a.pem", "http_host": "0.0.0.0"},
            b"Strict-Transport-Security: max-age=2592000\r\n",
        ),
        ({"http_tls_certificate": "a.pem", "http_host": "0.0.0.0", "http_hsts": 0.0}, b""),
        ({"http_host": "0.0.0.0"}, b""),
    ],
)
def test_browsers_are_told_to_come_by_tls_only_over_tls(settings, headers):
    assert build_edge(Settings(**settings)).response_headers == headers
