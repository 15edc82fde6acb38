"""Events in the shapes in which AWS's services send them to Lambda functions.

HTTP: payload format 2.0 of HTTP APIs and function URLs
(https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html). Queues: SQS
(https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html). Events and timers: EventBridge
(https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from eventmesh.executions.aws.names import ACCOUNT, REGION
from eventmesh.model.event import ATTRIBUTE_PREFIX
from eventmesh.model.invocation import HttpRequest, Invocation

_TIMERS: Final = ("every", "cron", "at")
_DEFAULT: Final = "$default"
_ALL: Final = re.compile(r"ANY /\{\w+:path\}")
_TEXT: Final = ("text/", "application/json", "application/xml", "application/javascript")
"""Content types whose bodies are texts; so are those that end in +json or +xml."""


def build_event(invocation: Invocation) -> bytes:
    """Return the event of an invocation, as JSON. One by name has its payload, as it is."""
    if invocation.batch is not None:
        return orjson.dumps(_records(invocation, invocation.batch.bodies))
    if invocation.http is not None:
        return orjson.dumps(http_event(invocation))
    if invocation.trigger in _TIMERS:
        return orjson.dumps(_scheduled(invocation))
    if invocation.trigger == "event":
        return orjson.dumps(_bus_event(invocation))
    if invocation.trigger == "queue":
        return orjson.dumps(_records(invocation, [invocation.payload]))
    return invocation.payload or b"null"


def http_event(invocation: Invocation) -> dict[str, Any]:
    """Return the event of an HTTP request."""
    http = invocation.http
    if http is None:
        raise ValueError("the invocation is no HTTP request")
    headers, cookies = _join_headers(http.headers)
    path, _, query = http.target.partition("?")
    body, is_base64 = _body_text(invocation)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": _route_key(http),
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": _request_context(invocation, http, path, headers),
        "isBase64Encoded": is_base64,
    }
    if cookies:
        event["cookies"] = cookies
    if http.query:
        event["queryStringParameters"] = {
            name: ",".join(values) for name, values in http.query.items()
        }
    if http.path and event["routeKey"] != _DEFAULT:
        event["pathParameters"] = dict(http.path)
    if body is not None:
        event["body"] = body
    return event


def _route_key(http: HttpRequest) -> str:
    """Return the key that AWS gives to such a route: all of a server is that of a function URL."""
    if _ALL.fullmatch(http.route.key):
        return _DEFAULT
    return http.route.key.replace(":path}", "+}")


def _request_context(
    invocation: Invocation, http: HttpRequest, path: str, headers: Mapping[str, str]
) -> dict[str, Any]:
    moment = datetime.fromtimestamp(invocation.created, UTC)
    host = headers.get("host", "")
    context: dict[str, Any] = {
        "accountId": ACCOUNT,
        "apiId": "eventmesh",
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "http": {
            "method": http.method,
            "path": path,
            "protocol": "HTTP/1.1",
            "sourceIp": http.remote,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": invocation.id,
        "routeKey": _route_key(http),
        "stage": "$default",
        "time": moment.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": round(invocation.created * 1000),
    }
    if invocation.principal:
        context["authorizer"] = {"lambda": {"principal": invocation.principal}}
    return context


def _join_headers(given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the headers in lower case, those of one name joined, and the cookies apart."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, text in given.items():
        key = str(name).lower()
        if key == "cookie":
            cookies += [cookie.strip() for cookie in text.split(";")]
        else:
            headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers, cookies


def _body_text(invocation: Invocation) -> tuple[str | None, bool]:
    if not invocation.payload:
        return None, False
    kind = invocation.content_type.partition(";")[0].strip().lower()
    if kind.startswith(_TEXT) or kind.endswith(("+json", "+xml")):
        try:
            return invocation.payload.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(invocation.payload).decode(), True


def _records(invocation: Invocation, bodies: Sequence[bytes]) -> dict[str, Any]:
    return {"Records": [_record(invocation, number, body) for number, body in enumerate(bodies)]}


def item_id(invocation: Invocation, number: int) -> str:
    """Return the id of one message of a batch: what `batchItemFailures` names."""
    return f"{invocation.id}-{number}" if invocation.batch is not None else invocation.id


def _record(invocation: Invocation, number: int, body: bytes) -> dict[str, Any]:
    sent = str(round(invocation.created * 1000))
    service, _, name = invocation.function.partition(".")
    text = body.decode(errors="replace")
    return {
        "messageId": item_id(invocation, number),
        "receiptHandle": item_id(invocation, number),
        "body": text,
        "attributes": {
            "ApproximateReceiveCount": str(invocation.attempt),
            "SentTimestamp": sent,
            "SenderId": invocation.caller or ACCOUNT,
            "ApproximateFirstReceiveTimestamp": sent,
        },
        "messageAttributes": {
            key: {"stringValue": value, "dataType": "String"}
            for key, value in invocation.headers.items()
        },
        # Not for security: it is a field of SQS's.
        "md5OfBody": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{service}-{name}",
        "awsRegion": REGION,
    }


def _bus_event(invocation: Invocation) -> dict[str, Any]:
    headers = invocation.headers
    source = headers.get(f"{ATTRIBUTE_PREFIX}source", "").strip("/") or "eventmesh"
    return _envelope(invocation, invocation.type, source, _detail(invocation.payload))


def _scheduled(invocation: Invocation) -> dict[str, Any]:
    event = _envelope(invocation, "Scheduled Event", "aws.events", {})
    event["resources"] = [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{invocation.function}"]
    return event


def _envelope(invocation: Invocation, kind: str, source: str, detail: Any) -> dict[str, Any]:
    own = datetime.fromtimestamp(invocation.created, UTC)
    moment = invocation.headers.get(f"{ATTRIBUTE_PREFIX}time") or own.isoformat()
    return {
        "version": "0",
        "id": invocation.id,
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": moment,
        "region": REGION,
        "resources": [],
        "detail": detail,
    }


def _detail(payload: bytes) -> Any:
    try:
        return orjson.loads(payload or b"null")
    except orjson.JSONDecodeError:
        return payload.decode(errors="replace")
