"""Headers that clients set for what they invoke, send and emit, over both APIs."""

import base64
import json
from urllib.parse import urlencode

import pytest

from eventmesh import Client, Context, Service

INVOKE = "/2015-03-31/functions/s.show/invocations"
FORGED = ("em-first-failure", "em-function", "cloudEvents:source", "CC")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

services = Service("s")


@services.function
async def show(ctx: Context) -> dict[str, str]:
    return dict(ctx.headers)


@pytest.fixture
async def served(serving):
    async with serving(services) as served:
        yield served


def context(**custom):
    return base64.b64encode(json.dumps({"custom": custom}).encode()).decode()


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("path", [INVOKE, "/_eventmesh/send/s.show", "/_eventmesh/events/a.b"])
async def test_provenance_cannot_be_forged(served, path, name):
    headers = {"x-eventmesh-headers": urlencode({name: "1970-01-01T00:00:00Z"})}
    async with served.http.post(path, json={}, headers=headers) as answer:
        assert answer.status == 400
        assert name in await answer.text()


@pytest.mark.parametrize("name", FORGED)
async def test_nor_by_the_context_of_a_lambda_client(served, name):
    headers = {"X-Amz-Client-Context": context(**{name: "forged"})}
    async with served.http.post(INVOKE, json={}, headers=headers) as answer:
        assert answer.status == 400
        assert answer.headers["x-amzn-ErrorType"] == "InvalidRequestContentException"


async def test_a_trace_in_them_is_left_out_and_the_one_beside_them_goes_on(served):
    headers = {
        "X-Amz-Client-Context": context(traceparent="00-1", baggage="user=admin", a="b"),
        "x-eventmesh-headers": "baggage=user%3Dadmin&c=d",
        "traceparent": PARENT,
    }
    async with served.http.post(INVOKE, json={}, headers=headers) as answer:
        assert await answer.json() == {"a": "b", "c": "d", "traceparent": PARENT}


async def test_a_client_of_ours_sends_its_trace_beside_them(served):
    async with Client(served.url) as client:
        headers = {"traceparent": PARENT, "tracestate": "two\nlines", "team": "é"}
        assert await client.invoke(show, headers=headers) == {"traceparent": PARENT, "team": "é"}
