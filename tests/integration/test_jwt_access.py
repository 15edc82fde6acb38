"""The APIs, for the bearers of an issuer's tokens."""

import time

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey

from eventmesh import AccessDenied, Client, Service, SettingsError, Unauthenticated

ISSUER = "https://id.example.org"

orders = Service("orders")


@orders.function
async def place(sku: str = "none") -> str:
    return sku


@pytest.fixture(scope="module")
def key():
    return ECKey.generate_key("P-256", {"kid": "1"})


@pytest.fixture
async def issuer(other_server, key):
    async def answer(request):
        return web.json_response({"keys": [key.as_dict(private=False)]})

    async with other_server(answer) as url:
        yield f"{url}/keys"


@pytest.fixture
async def served(serving, issuer):
    settings = {"jwt_issuer": ISSUER, "jwt_audience": ("shop",), "jwt_jwks_url": issuer}
    async with serving(orders, **settings) as served:
        yield served


def issue(key, scope="", **claims):
    members = {"iss": ISSUER, "aud": "shop", "sub": "user-7", "exp": int(time.time()) + 3600}
    return jwt.encode({"alg": "ES256", "kid": key.kid}, {**members, "scope": scope, **claims}, key)


async def test_a_bearer_may_do_what_the_scopes_of_the_token_say(served, key):
    async with Client(served.url, token=issue(key, "openid eventmesh:invoke")) as client:
        assert await client.invoke("orders.place", {"sku": "a"}) == "a"
        with pytest.raises(AccessDenied, match=r"jwt:user-7 may not .* scope 'send'"):
            await client.send("orders.place", {})
    async with Client(served.url, token=issue(key, "invoke")) as client:
        with pytest.raises(AccessDenied, match="scope 'invoke'"):
            await client.invoke("orders.place")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1}, "expired"),
        ({"aud": "bank"}, "another audience"),
        ({"iss": "https://evil.example.org"}, "another issuer"),
    ],
)
async def test_a_token_that_is_not_for_us_is_refused(served, key, claims, reason):
    async with Client(served.url, token=issue(key, "eventmesh:*", **claims)) as client:
        with pytest.raises(Unauthenticated, match=reason):
            await client.invoke("orders.place")
        with pytest.raises(Unauthenticated, match=reason):
            await client.send("orders.place", {})


async def test_a_token_of_another_key_is_refused(served):
    other = ECKey.generate_key("P-256", {"kid": "1"})
    async with served.http.get(
        "/_eventmesh/functions", headers={"Authorization": f"Bearer {issue(other)}"}
    ) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')


async def test_no_token_is_refused(served):
    async with served.http.get("/_eventmesh/functions") as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    "settings",
    [
        {"jwt_audience": ()},
        {"jwt_jwks_url": ""},
        {"jwt_jwks_url": "http://id.example.org/keys"},
        {"jwt_jwks_file": "/none", "jwt_jwks_url": ""},
    ],
)
async def test_settings_that_make_no_sense_are_refused(serving, settings):
    given = {
        "jwt_issuer": ISSUER,
        "jwt_audience": ("shop",),
        "jwt_jwks_url": "https://id.example.org/keys",
        **settings,
    }
    with pytest.raises(SettingsError, match=r"EVENTMESH_JWT|https://|JWK set"):
        async with serving(orders, **given):
            pass
