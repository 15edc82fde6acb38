"""Authorizers are opened once, asked in their order, and keep what they were asked to."""

import asyncio

import pytest

from eventmesh import AccessDenied, Problem, Service, on
from eventmesh.auth import Anyone, Authorizer, Identity, Unauthenticated
from eventmesh.engine.codecs.identity import decode_identity
from eventmesh.http.auth import guards
from eventmesh.http.auth.guards import MAX_KEPT, open_guards
from eventmesh.model.invocation import HttpRequest, RouteTemplate

ROUTE = RouteTemplate("GET /", (), has_body=False)


def request(**headers):
    return HttpRequest(ROUTE, "GET", "/", {}, {}, headers)


def says(answer, **options):
    """An authorizer that answers so, and counts how often it was asked."""

    async def check(request):
        check.asked += 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    check.asked = 0
    return Authorizer(check, **options)


@pytest.fixture
def ask(clock):
    """Ask the guard of a route as often as there are requests."""

    async def ask(auth, *requests, seconds=0):
        service = Service("shop")

        @service.function(on.get("/", auth=auth))
        def show() -> None: ...

        async with open_guards(service.specs, clock) as opened:
            found = []
            for each in requests or (request(),):
                found.append(decode_identity(await opened["shop.show", "GET /"](each)))
                await clock.advance(seconds)
        return found

    return ask


ADA = Identity("custom:ada", "custom", frozenset("a"))


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([None, ADA], ADA),
        ([Unauthenticated("no"), ADA], ADA),
        ([AccessDenied("no"), ADA], ADA),
        ([ADA, AssertionError()], ADA),
        ([None, None], Unauthenticated),
        ([Unauthenticated("no"), None], Unauthenticated),
        ([Unauthenticated("no"), AccessDenied("not you")], AccessDenied),
        ([AccessDenied("not you"), Unauthenticated("no")], AccessDenied),
        ([Problem(503), Unauthenticated("no")], Problem),
        ([ValueError("a bug")], ValueError),
        (["ada"], TypeError),
        ([Identity("x" * 1000, "custom")], Unauthenticated),
    ],
)
async def test_any_of_several(ask, answers, outcome):
    auth = [says(answer) for answer in answers]
    if isinstance(outcome, Identity):
        assert await ask(auth) == [outcome]
    else:
        with pytest.raises(outcome) as caught:
            await ask(auth)
        assert type(caught.value) is outcome


async def test_all_challenges_are_told_once(ask):
    auth = [says(None, challenge="A"), says(None, challenge="B x=1"), says(None, challenge="A")]
    with pytest.raises(Unauthenticated) as caught:
        await ask(auth)
    assert caught.value.challenge == "A, B x=1"


async def test_an_optional_one(ask):
    assert [each.principal for each in await ask([says(None), Anyone()])] == [""]
    with pytest.raises(Unauthenticated):
        await ask([Anyone(), says(Unauthenticated("no"))])


async def test_scopes(ask):
    assert await ask(says(ADA, scopes=["a"])) == [ADA]
    with pytest.raises(Problem) as caught:
        await ask(says(ADA, scopes=["a", "b"], challenge="Own realm=x"))
    assert caught.value.status == 403
    assert caught.value.headers == {
        "WWW-Authenticate": 'Own error="insufficient_scope", scope="a b"'
    }


async def test_nothing_is_kept_unless_asked_for(ask):
    auth = says(ADA)
    await ask(auth, *[request(authorization="x")] * 3)
    assert auth.check.asked == 3


async def test_what_is_kept_is_kept_for_its_time_and_its_credentials(ask):
    auth = says(ADA, cache=10)
    same, other = request(authorization="x"), request(authorization="y")
    assert await ask(auth, same, same, other, same, seconds=4) == [ADA] * 4
    assert auth.check.asked == 3  # The first is too old for the last.


@pytest.mark.parametrize("answer", [None, Unauthenticated("no")])
async def test_a_refusal_is_not_kept(ask, answer):
    auth = says(answer, cache=10)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await ask(auth, request(authorization="x"))
    assert auth.check.asked == 2


async def test_without_credentials_nothing_is_kept(ask):
    auth = says(ADA, cache=10)
    await ask(auth, request(), request())
    assert auth.check.asked == 2


async def test_what_is_kept_has_a_bound(ask, monkeypatch):
    monkeypatch.setattr(guards, "MAX_KEPT", 2)
    assert MAX_KEPT == 1000
    auth = says(ADA, cache=10)
    first, *others = [request(authorization=str(number)) for number in range(3)]
    await ask(auth, first, *others, first)
    assert auth.check.asked == 4


async def test_a_cancelled_check_lets_nobody_in(ask):
    with pytest.raises(asyncio.CancelledError):
        await ask(says(asyncio.CancelledError()))
