"""What a service may have a gateway send to its client."""

import json

import pytest

from eventmesh.gateway.relay import decode_response
from eventmesh.http.protocol import RELAYED_RESPONSE
from eventmesh.model.errors import Problem
from eventmesh.model.result import Result


def relay(body=b"hello", **fields):
    head = {"status": 200, "content_type": "text/plain", "headers": {}} | fields
    encoded = json.dumps(head).encode() + b"\n" + body
    return decode_response(Result(encoded, content_type=RELAYED_RESPONSE), "id-1")


def test_a_response_is_passed_on_as_it_is():
    response = relay(status=418, headers={"X-One": "a", "Set-Cookie": ["b", "c"]})
    assert (response.status, response.body, response.content_type) == (418, b"hello", "text/plain")
    assert response.headers == {"X-One": "a", "Set-Cookie": ["b", "c"]}


SPLIT = "200 OK\r\nX-Injected: yes\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "fields",
    [
        *({"status": status} for status in (SPLIT, "200", 101, 100, 99, 600, 99999, 200.0, True)),
        {"status": None},
        {"content_type": "text/plain\r\nX-Injected: yes"},
        {"content_type": 7},
        {"content_type": ["text/plain"]},
        {"headers": {"X-One": "a\r\nX-Injected: yes"}},
        {"headers": {"X-One\r\nX-Injected": "yes"}},
        {"headers": {"X-One": ["a", "b\nc"]}},
        {"headers": {"X-One": "a\x00"}},
        {"headers": {"X-One": "\ud800"}},
        {"headers": {"X-One": 7}},
        {"headers": {"X-One": [7]}},
        {"headers": {"": "a"}},
        {"headers": [["X-One", "a"]]},
        {"headers": "X-One: a"},
        {"headers": None},
    ],
    ids=repr,
)
def test_a_response_that_would_not_be_one_response_is_a_502(fields):
    with pytest.raises(Problem) as refused:
        relay(**fields)
    assert refused.value.status == 502
    assert "X-Injected" not in refused.value.detail


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"{}\nx", b"[]\nx", b"null\n", b"not json\n", b"[" * 100_000]
)
def test_a_result_without_a_head_is_a_502(body):
    with pytest.raises(Problem) as refused:
        decode_response(Result(body, content_type=RELAYED_RESPONSE), "id-1")
    assert refused.value.status == 502


def test_the_result_of_another_version_is_a_502():
    with pytest.raises(Problem, match="version"):
        decode_response(Result(b"{}"), "id-1")
