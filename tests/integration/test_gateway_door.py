"""The door of a mesh: at a gateway it is as at the service itself."""

import json

import pytest
from doors import both_doors

from eventmesh import Context, Cors, Service, on

PAGE, EVIL = "https://app.example", "https://evil.example"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def runs():
    return []


@pytest.fixture
def service(runs):
    service = Service("shop", cors=Cors([PAGE], credentials=True, expose=["x-total"]))

    @service.function(on.put("/items/{id}"))
    async def change(id: int, item: dict, ctx: Context) -> dict:
        runs.append(id)
        request = ctx.invocation.http
        return {"remote": request.remote, "headers": dict(ctx.invocation.headers)}

    return service


ASKED = [
    ("OPTIONS", {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}, 204),
    ("OPTIONS", {"Origin": EVIL, "Access-Control-Request-Method": "PUT"}, 403),
    ("OPTIONS", {"Origin": PAGE, "Access-Control-Request-Method": "POST"}, 204),
    ("PUT", {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}, 200),
    ("PUT", {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}, 403),
    ("PUT", {"Origin": EVIL}, 200),
    ("PUT", {"Content-Type": "text/plain", "Origin": PAGE}, 415),
    ("PUT", {"Content-Type": ""}, 415),
    ("PUT", {"Host": "evil.example"}, 421),
]


async def test_it_answers_as_the_service_does(service, runs):
    async with both_doors(service) as clients:
        for method, headers, status in ASKED:
            given = {"Content-Type": "application/json"} | headers
            seen = []
            for client in clients:
                async with client.request(method, "/items/7", data=b"{}", headers=given) as answer:
                    assert answer.status == status, (method, headers)
                    told = {
                        name: answer.headers.getall(name)
                        for name in sorted(set(answer.headers))
                        if name.startswith("Access-Control-") or name in ("Vary", "Allow")
                    }
                    seen.append((told, answer.headers["X-Content-Type-Options"]))
            assert seen[0] == seen[1], (method, headers)
    assert runs == [7] * 4


async def test_a_body_without_a_type_is_not_taken(service, runs):
    async with both_doors(service) as clients:
        for client in clients:
            async with client.put(
                "/items/7", data=b"{}", skip_auto_headers=["Content-Type"]
            ) as answer:
                assert answer.status == 415
    assert not runs


async def test_the_client_and_its_trace_are_those_that_the_gateway_believes(service):
    headers = {"traceparent": PARENT, "baggage": "user=admin", "X-Forwarded-For": "192.0.2.1"}
    async with both_doors(service) as (_, gateway):
        stranger = await told(gateway, headers)
        assert stranger["remote"] == "127.0.0.1"
        assert set(stranger["headers"]) == {"traceparent"}
        version, trace, span, flags = stranger["headers"]["traceparent"].split("-")
        assert (f"{version}-{trace}", flags) == (PARENT[:35], "00")
        assert span != PARENT[36:52]
    trust = {"trusted_proxies": ("127.0.0.0/8",), "trace_trust": ("192.0.2.0/24",)}
    async with both_doors(service, **trust) as (_, gateway):
        assert await told(gateway, headers) == {
            "remote": "192.0.2.1",
            "headers": {"traceparent": PARENT, "baggage": "user=admin"},
        }


async def told(client, headers):
    async with client.put("/items/7", json={}, headers=headers) as answer:
        assert answer.status == 200
        return json.loads(await answer.read())
