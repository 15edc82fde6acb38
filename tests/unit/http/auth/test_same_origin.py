import pytest

from eventmesh.http.auth.same_origin import SameOriginCheck


def find_violation(listening_on, **headers):
    given = {name.title(): text for name, text in headers.items()}
    return SameOriginCheck(listening_on).find_violation(given)


@pytest.mark.parametrize("listening_on", ["127.0.0.1", "localhost", "::1", "127.0.0.53"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost", "LOCALHOST:8080", "[::1]:8080", "127.1.2.3"]
)
def test_local_names_reach_a_local_address(listening_on, host):
    assert find_violation(listening_on, host=host) == ""


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "", "[", "10.0.0.1"]
)
def test_a_foreign_name_that_points_to_a_local_address_is_refused(host):
    assert "only this machine may do this" in find_violation("127.0.0.1", host=host)


def test_an_address_for_others_is_reached_by_any_name():
    assert find_violation("0.0.0.0", host="orders.example") == ""


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://["]
)
def test_a_page_of_another_origin_is_refused(origin):
    assert "may not do this" in find_violation("127.0.0.1", host="127.0.0.1:8080", origin=origin)


def test_a_page_of_the_same_origin_is_let_in():
    assert find_violation("127.0.0.1", host="127.0.0.1:8080", origin="http://127.0.0.1:8080") == ""
