"""What may be declared as `auth`."""

import pytest

from eventmesh import DeclarationError, Service, on
from eventmesh.auth import Anyone, ApiKeys, Authorizer, Jwt


async def check(request):
    return None


class Checker:
    async def __call__(self, request):
        return None


TOKENS = Jwt("https://id.example", "shop", "https://id.example/jwks", scopes=["a"])
GOOD = [
    Anyone(),
    ApiKeys("keys.toml"),
    ApiKeys("keys.toml", header="X-Own", scopes=["orders:read"]),
    TOKENS,
    Authorizer(check),
    Authorizer(Checker(), header="X-Own", challenge='Own realm="x"', cache="5m", scopes=["a"]),
]


@pytest.mark.parametrize("auth", [*GOOD, GOOD, (GOOD[1], TOKENS)])
def test_declaring_opens_nothing_and_can_be_compared(auth):
    assert on.get("/orders", auth=auth) == on.get("/orders", auth=auth)
    assert on.get("/orders", auth=auth) != on.get("/orders")
    hash(on.get("/orders", auth=auth))


@pytest.mark.parametrize("trigger", [on.get, on.post, on.put, on.patch, on.delete])
def test_every_method_takes_it(trigger):
    assert trigger("/orders", auth=TOKENS).auth == (TOKENS,)


def test_values_are_read():
    assert ApiKeys("keys.toml", header="X-Own").header == "x-own"
    assert Jwt("i", "shop", "k").audience == ("shop",)
    assert Authorizer(check, cache="5m").cache == 300.0


@pytest.mark.parametrize(
    ("auth", "advice"),
    [
        ([], "lets nobody in"),
        ("token", "no ApiKeys, Jwt, Authorizer or Anyone"),
        (check, r"write Authorizer\(check\)"),
        (Anyone, "no ApiKeys"),
        ([TOKENS, TOKENS], "lists Jwt twice"),
        (True, "no ApiKeys"),
    ],
)
def test_what_is_no_authorizer(auth, advice):
    with pytest.raises(DeclarationError, match=rf"on.get\('/orders'\): .*{advice}"):
        on.get("/orders", auth=auth)
    with pytest.raises(DeclarationError, match=rf"Service\('shop'\): .*{advice}"):
        Service("shop", auth=auth)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: ApiKeys(""), "no path"),
        (lambda: ApiKeys("k", header="x y"), "no name of a header"),
        (lambda: ApiKeys("k", scopes="a"), r"write scopes=\['a'\]"),
        (lambda: ApiKeys("k", scopes=["a b"]), "'a b' is no scope"),
        (lambda: ApiKeys("k", scopes=['a"']), "'a\"' is no scope"),
        (lambda: Jwt("", "a", "k"), "issuer"),
        (lambda: Jwt("i", "a", ""), "jwks"),
        (lambda: Jwt("i", "a", "http://id.example/jwks"), "whoever is between"),
        (lambda: Jwt("i", "a", "ftp://id.example/jwks"), "jwks='ftp:"),
        (lambda: Jwt("i", "a", "https://"), "jwks='https://'"),
        (lambda: Jwt("i", [], "k"), "needs an audience"),
        (lambda: Jwt("i", "", "k"), "a token needs an audience"),
        (lambda: Authorizer(lambda request: None), "no coroutine function"),
        (lambda: Authorizer(check, challenge=""), "challenge"),
        (lambda: Authorizer(check, challenge="Basic\r\nx: y"), "challenge='Basic"),
        (lambda: Authorizer(check, cache=-1), "cache"),
    ],
)
def test_options_that_make_no_sense(make, advice):
    with pytest.raises(DeclarationError, match=advice):
        make()


def test_a_route_without_one_has_that_of_its_service():
    service = Service("shop", auth=TOKENS)

    @service.function(on.get("/own", auth=Anyone()), on.get("/default"))
    def show() -> None: ...

    assert show.spec.auth == (TOKENS,)
    assert [trigger.auth for trigger in show.spec.triggers] == [(Anyone(),), None]
