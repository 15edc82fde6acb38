"""Routes ask who is there, at the service and, with the same answers, through a gateway."""

import base64
import hashlib
import json
import time

import pytest
from doors import both_doors
from joserfc import jwt
from joserfc.jwk import ECKey
from openapi_spec_validator import validate

from eventmesh import AccessDenied, Context, Cors, Service, on
from eventmesh.auth import (
    Anyone,
    ApiKeys,
    Authorizer,
    HttpRequest,
    Identity,
    Jwt,
    Unauthenticated,
)

ISSUER = "https://id.example.org"
KEY, NARROW, OLD = "key-of-a-partner", "key-without-scopes", "key-of-last-year"


def key_table(name, key, rest=""):
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f'[apikeys.{name}]\nhash = "sha256:{digest}"\n{rest}\n'


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text(
        key_table("partner", KEY, 'scopes = ["orders:read"]')
        + key_table("narrow", NARROW)
        + key_table("old", OLD, 'scopes = ["orders:read"]\nexpires = 2020-01-01T00:00:00Z')
    )
    return file


@pytest.fixture(scope="module")
def signer():
    return ECKey.generate_key("P-256", {"kid": "k"})


@pytest.fixture
def token(signer):
    """Makes tokens of the issuer, or of others."""

    def make(key=signer, **claims):
        given = {"iss": ISSUER, "aud": "orders", "sub": "ada", "exp": int(time.time()) + 3600}
        return "Bearer " + jwt.encode({"alg": "ES256", "kid": "k"}, given | claims, key)

    return make


@pytest.fixture
def asked():
    return []


@pytest.fixture
def service(keys, tmp_path, signer, asked):
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [signer.as_dict(private=False)]}))

    async def basic(request: HttpRequest) -> Identity | None:
        asked.append(request.target)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        user, _, password = base64.b64decode(given).decode().partition(":")
        if user == "banned":
            raise AccessDenied("banned users may not do this")
        if password != "open sesame":
            raise Unauthenticated("the password is wrong")
        return Identity(f"custom:{user}", "custom")

    api_keys = ApiKeys(str(keys), scopes=["orders:read"])
    tokens = Jwt(issuer=ISSUER, audience="orders", jwks=str(jwks), scopes=["orders:read"])
    users = Authorizer(basic, challenge='Basic realm="orders"')
    service = Service("orders", auth=[api_keys, tokens])

    @service.function(on.get("/orders"), on.post("/stored", mode="async"))
    async def orders(ctx: Context) -> dict:
        return {"principal": ctx.identity.principal, "scopes": sorted(ctx.identity.scopes)}

    @service.function(on.get("/open", auth=Anyone()), on.get("/maybe", auth=[users, Anyone()]))
    def open_to_all(identity: Identity) -> str:
        return identity.principal

    @service.function(on.get("/users/{name}", auth=users))
    async def user(name: str, ctx: Context) -> list[str]:
        return [name, await ctx.invoke("orders.passed_on", returns=str)]

    @service.function(access="private")
    def passed_on(identity: Identity) -> str:
        return identity.principal

    @service.function(
        on.get("/kept", auth=Authorizer(basic, challenge="Basic", cache="1m")), name="kept"
    )
    def kept(identity: Identity) -> str:
        return identity.principal

    return service


def basic(user, password="open sesame"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def both(clients, path, headers=None, method="GET"):
    """Ask both, which answer alike: status, body, challenge."""
    answers = []
    for client in clients:
        async with client.request(method, path, headers=headers or {}) as answer:
            body = await answer.json()
            if answer.status >= 400:
                assert answer.content_type == "application/problem+json"
                body = body.get("detail")
            answers.append((answer.status, body, answer.headers.get("WWW-Authenticate")))
    assert answers[0] == answers[1]
    return answers[0]


CHALLENGES = 'ApiKey header="x-api-key", Bearer'


async def test_keys_and_tokens(service, token, signer):
    stranger = ECKey.generate_key("P-256", {"kid": "k"})
    partner = {"principal": "apikey:partner", "scopes": ["orders:read"]}
    ada = {"principal": "jwt:ada", "scopes": ["orders:read", "x"]}
    reader = token(scope="x orders:read")
    async with both_doors(service) as clients:
        assert await both(clients, "/orders", {"x-api-key": KEY}) == (200, partner, None)
        assert await both(clients, "/orders", {"Authorization": reader}) == (200, ada, None)
        for headers, status in [
            ({}, 401),
            ({"x-api-key": "guess"}, 401),
            ({"x-api-key": ""}, 401),
            ({"x-api-key": OLD}, 401),
            ({"x-api-key": NARROW}, 403),
            ({"Authorization": f"Bearer {KEY}"}, 401),
            ({"Authorization": basic("ada")}, 401),
            ({"Authorization": token(scope="orders:write")}, 403),
            ({"Authorization": token(scope="orders:read", aud="other")}, 401),
            ({"Authorization": token(scope="orders:read", iss="https://evil.example")}, 401),
            ({"Authorization": token(scope="orders:read", exp=1)}, 401),
            ({"Authorization": token(stranger, scope="orders:read")}, 401),
            ({"Authorization": reader[:-4]}, 401),
            ({"Authorization": "Bearer a.b.c"}, 401),
            ({"em-principal": '{"p":"jwt:ada","m":"jwt","s":["orders:read"]}'}, 401),
            ({"x-eventmesh-principal": "apikey:partner"}, 401),
        ]:
            given, _, challenge = await both(clients, "/orders", headers)
            assert (given, bool(challenge)) == (status, True), headers
        assert (await both(clients, "/orders"))[2] == CHALLENGES
        denied = await both(clients, "/orders", {"x-api-key": NARROW})
        assert denied[1] == "this needs the scope 'orders:read', which the credentials do not have"
        assert denied[2] == 'ApiKey error="insufficient_scope", scope="orders:read"'


async def test_a_bad_token_beside_a_good_key_does_not_close_the_door(service, token):
    async with both_doors(service) as clients:
        headers = {"x-api-key": KEY, "Authorization": token(exp=1)}
        assert (await both(clients, "/orders", headers))[0] == 200


async def test_a_function_of_ones_own(service):
    async with both_doors(service) as clients:
        ada = await both(clients, "/users/1", {"Authorization": basic("ada")})
        assert ada == (200, ["1", "custom:ada"], None)
        assert await both(clients, "/users/1", {"Authorization": basic("ada", "x")}) == (
            401,
            "the password is wrong",
            'Basic realm="orders"',
        )
        banned = await both(clients, "/users/1", {"Authorization": basic("banned")})
        assert banned == (403, "banned users may not do this", None)
        assert (await both(clients, "/users/1"))[0] == 401
        # A fault of its own lets nobody in.
        async with clients[0].get("/users/1", headers={"Authorization": "Basic A"}) as answer:
            assert answer.status == 500


async def test_anyone_and_optional_credentials(service):
    async with both_doors(service) as clients:
        assert await both(clients, "/open") == (200, "", None)
        assert await both(clients, "/open", {"x-api-key": "guess"}) == (200, "", None)
        assert await both(clients, "/maybe") == (200, "", None)
        assert await both(clients, "/maybe", {"Authorization": basic("ada")}) == (
            200,
            "custom:ada",
            None,
        )
        assert (await both(clients, "/maybe", {"Authorization": basic("ada", "x")}))[0] == 401


async def test_what_a_function_says_is_kept_only_where_that_is_asked_for(service, asked):
    async with both_doors(service) as clients:
        for user in ("ada", "ada", "bob"):
            await both(clients, "/kept", {"Authorization": basic(user)})
            await both(clients, "/users/1", {"Authorization": basic(user)})
        await both(clients, "/kept", {"Authorization": basic("ada", "wrong")})
    # One opened authorizer for the service's own port and for what a gateway passes on.
    assert asked.count("/kept") == 4
    assert asked.count("/users/1") == 6


async def test_an_asynchronous_route(service):
    async with both_doors(service) as clients:
        assert (await both(clients, "/stored", method="POST"))[0] == 401
        for client in clients:
            async with client.post("/stored", headers={"x-api-key": KEY}) as answer:
                assert answer.status == 202


async def test_openapi_says_what_a_route_needs(service):
    async with both_doors(service) as clients:
        documents = []
        for client in clients:
            async with client.get("/openapi.json") as answer:
                documents.append(await answer.json())
    assert documents[0]["components"] == documents[1]["components"]
    for document in documents:
        validate(document)
        jwt = "jwt-https-id.example.org"
        assert document["components"]["securitySchemes"] == {
            "key-x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            jwt: {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": f"A token of {ISSUER}.",
            },
            "http-basic": {"type": "http", "scheme": "basic"},
        }
        orders = document["paths"]["/orders"]["get"]
        assert orders["security"] == [{"key-x-api-key": ["orders:read"]}, {jwt: ["orders:read"]}]
        assert {"401", "403"} <= orders["responses"].keys()
        assert "WWW-Authenticate" in orders["responses"]["401"]["headers"]
        assert document["paths"]["/maybe"]["get"]["security"] == [{"http-basic": []}, {}]
        assert "security" not in document["paths"]["/open"]["get"]
        assert "401" not in document["paths"]["/open"]["get"]["responses"]


async def test_a_host_does_not_start_with_keys_that_cannot_be_read(service, keys):
    keys.unlink()
    with pytest.raises(Exception, match=r"keys.toml' cannot be used \(No such file"):
        async with both_doors(service):
            pass


async def test_browsers_may_ask_first_and_see_the_refusal(keys):
    page = "https://app.example"
    service = Service("orders", auth=ApiKeys(str(keys)), cors=Cors([page], headers=["x-api-key"]))

    @service.function(on.get("/orders"))
    def orders() -> int:
        return 1

    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
    async with both_doors(service) as clients:
        for client in clients:
            for method, headers, status in [
                ("OPTIONS", asked, 204),
                ("GET", {}, 401),
                ("GET", {"x-api-key": KEY}, 200),
            ]:
                given = {"Origin": page, **headers}
                async with client.request(method, "/orders", headers=given) as answer:
                    assert answer.status == status
                    assert answer.headers["Access-Control-Allow-Origin"] == page
