"""Events in AWS's shapes, and what comes back."""

import base64
import json
from dataclasses import replace

import pytest
from multidict import CIMultiDict

from eventmesh.lambdas.events import build_event, http_event
from eventmesh.lambdas.results import read_error, read_result
from eventmesh.model.errors import FunctionError
from eventmesh.model.event import TIMER_TYPE, event_headers
from eventmesh.model.invocation import Batch, HttpRequest, Invocation, RouteTemplate

REQUEST = HttpRequest(
    RouteTemplate("POST /orders/{id}", ("id",), has_body=True),
    "POST",
    "/orders/7?a=1&a=2&b=",
    {"id": "7"},
    {"a": ["1", "2"], "b": [""]},
    CIMultiDict(
        [
            ("Host", "api.example.org"),
            ("X-A", "1"),
            ("x-a", "2"),
            ("Cookie", "c=1; d=2"),
            ("User-Agent", "test"),
        ]
    ),
    "10.0.0.1",
)
HTTP = Invocation(
    function="shop.place",
    id="an-id",
    payload=b'{"a": 1}',
    created=1_700_000_000.25,
    mode="sync",
    trigger="http",
    http=REQUEST,
    principal="token:ci",
)
STORED = Invocation(function="shop.place", id="an-id", payload=b'"x"', created=1_700_000_000.25)


def event_of(invocation):
    return json.loads(build_event(invocation))


@pytest.mark.parametrize(
    ("key", "names", "route_key"),
    [
        ("ANY /{path:path}", ("path",), "$default"),
        ("ANY /files/{path:path}", ("path",), "ANY /files/{path+}"),
        ("GET /{path:path}", ("path",), "GET /{path+}"),
    ],
)
def test_the_key_of_a_route_is_aws_own(key, names, route_key):
    template = RouteTemplate(key, names, has_body=True)
    event = event_of(replace(HTTP, http=replace(REQUEST, route=template, path={"path": "a/b"})))

    assert event["routeKey"] == event["requestContext"]["routeKey"] == route_key
    assert ("pathParameters" in event) is (route_key != "$default")


def test_a_request():
    event = event_of(HTTP)
    assert event == http_event(HTTP)
    assert (event["version"], event["routeKey"]) == ("2.0", "POST /orders/{id}")
    assert (event["rawPath"], event["rawQueryString"]) == ("/orders/7", "a=1&a=2&b=")
    assert event["headers"] == {"host": "api.example.org", "x-a": "1,2", "user-agent": "test"}
    assert event["cookies"] == ["c=1", "d=2"]
    assert event["queryStringParameters"] == {"a": "1,2", "b": ""}
    assert event["pathParameters"] == {"id": "7"}
    assert (event["body"], event["isBase64Encoded"]) == ('{"a": 1}', False)
    context = event["requestContext"]
    assert context["http"] == {
        "method": "POST",
        "path": "/orders/7",
        "protocol": "HTTP/1.1",
        "sourceIp": "10.0.0.1",
        "userAgent": "test",
    }
    assert context["time"] == "14/Nov/2023:22:13:20 +0000"
    assert context["timeEpoch"] == 1_700_000_000_250
    assert context["authorizer"] == {"lambda": {"principal": "token:ci"}}


@pytest.mark.parametrize(
    ("body", "kind", "is_text"),
    [
        (b"abc", "text/plain; charset=utf-8", True),
        (b"\xff", "text/plain", False),
        (b"abc", "application/octet-stream", False),
        (b"{}", "application/problem+json", True),
    ],
)
def test_a_body_that_is_no_text_is_base64(body, kind, is_text):
    event = event_of(replace(HTTP, payload=body, content_type=kind))
    assert event["isBase64Encoded"] is not is_text
    got = event["body"].encode() if is_text else base64.b64decode(event["body"])
    assert got == body


def test_no_body_is_no_member():
    assert "body" not in event_of(replace(HTTP, payload=b""))


def test_messages_of_a_queue():
    event = event_of(replace(STORED, trigger="queue", headers={"k": "v"}, attempt=2))
    (record,) = event["Records"]
    assert (record["messageId"], record["body"], record["eventSource"]) == (
        "an-id",
        '"x"',
        "aws:sqs",
    )
    assert record["attributes"]["ApproximateReceiveCount"] == "2"
    assert record["attributes"]["SentTimestamp"] == "1700000000250"
    assert record["messageAttributes"] == {"k": {"stringValue": "v", "dataType": "String"}}
    batch = event_of(replace(STORED, payload=b"", batch=Batch([b"1", b"2"])))
    assert [each["messageId"] for each in batch["Records"]] == ["an-id-0", "an-id-1"]


def test_an_event_of_the_mesh():
    headers = event_headers("/shop.place", 1_700_000_000.0)
    event = event_of(replace(STORED, trigger="event", type="order.placed", headers=headers))
    assert event["detail-type"] == "order.placed"
    assert event["source"] == "shop.place"
    assert event["detail"] == "x"
    assert event["time"] == "2023-11-14T22:13:20Z"


def test_a_timer():
    event = event_of(replace(STORED, trigger="cron", type=TIMER_TYPE))
    assert (event["detail-type"], event["source"], event["detail"]) == (
        "Scheduled Event",
        "aws.events",
        {},
    )
    assert event["resources"] == ["arn:aws:events:xx-mesh-1:000000000000:rule/shop.place"]


def test_by_name_it_is_the_payload():
    assert build_event(STORED) == b'"x"'
    assert build_event(replace(STORED, payload=b"")) == b"null"


def response(**parts):
    return read_result(HTTP, json.dumps(parts).encode(), "application/json")


def test_a_response():
    result = response(
        statusCode=201,
        headers={"X-A": 1, "content-type": "text/html"},
        cookies=["a=1"],
        body="aGk=",
        isBase64Encoded=True,
    )
    assert (result.status, result.body, result.content_type) == (201, b"hi", "text/html")
    assert result.headers == {"X-A": "1", "Set-Cookie": ["a=1"]}
    assert response(statusCode="404").status == 404
    plain = response(message="hi")
    assert (plain.status, plain.body) == (0, b'{"message": "hi"}')


@pytest.mark.parametrize(
    "parts",
    [
        {"statusCode": 99},
        {"statusCode": "x"},
        {"statusCode": None},
        {"statusCode": 200, "headers": [1]},
        {"statusCode": 200, "headers": {"a": {}}},
        {"statusCode": 200, "cookies": 7},
        {"statusCode": 200, "body": "%", "isBase64Encoded": True},
    ],
)
def test_a_response_that_is_none(parts):
    error = response(**parts).error
    assert isinstance(error, FunctionError)
    assert error.type == "Runtime.InvalidResponse"


BATCH = replace(STORED, payload=b"", batch=Batch([b"1", b"2"]))


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b"", None),
        (b"null", None),
        (b"{}", None),
        (b'{"batchItemFailures": []}', None),
        (b'{"batchItemFailures": null}', None),
        (b'{"batchItemFailures": [{"itemIdentifier": "an-id-1"}]}', [1]),
    ],
)
def test_failures_of_a_batch(body, failed):
    result = read_result(BATCH, body, "")
    assert result.error is None
    assert (result.failures and list(result.failures)) == failed


@pytest.mark.parametrize(
    "listed",
    [
        '[{"itemIdentifier": ""}]',
        '[{"itemIdentifier": null}]',
        '[{"id": "an-id-1"}]',
        '["an-id-1"]',
        '{"itemIdentifier": "x"}',
        '"x"',
    ],
)
def test_failures_that_cannot_be_read_are_of_all(listed):
    result = read_result(BATCH, f'{{"batchItemFailures": {listed}}}'.encode(), "")
    assert isinstance(result.error, FunctionError)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (
            b'{"errorType": "E", "errorMessage": "m", "stackTrace": ["a", "b"]}',
            "H",
            ("E", "m", "a\nb"),
        ),
        (b'{"errorMessage": "m", "trace": ["x"]}', "H", ("H", "m", "x")),
        (b"no JSON", "H", ("H", "", "")),
        (b"[]", "", ("Unknown", "", "")),
    ],
)
def test_an_error(body, kind, expected):
    error = read_error(body, kind)
    assert (error.type, error.message, error.traceback) == expected
