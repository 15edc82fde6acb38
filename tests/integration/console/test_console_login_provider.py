"""A provider that is dead, lies, or says too much."""

import asyncio
import socket
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from console_login import ROOT, Browser, open_console
from fake_oidc import FakeProvider

from eventmesh.http.auth import fetch
from eventmesh.http.auth.fetch import MAX_BYTES


async def test_what_the_provider_says_is_never_repeated_as_it_is(visitor):
    back = await visitor.begin()
    state = parse_qs(urlsplit(back).query)["state"][0]
    url = f"{back.partition('?')[0]}?state={state}"
    hostile = "%3Cscript%3Ealert(1)%3C/script%3E"
    answer, text = await visitor.get(f"{url}&error={hostile}&error_description={hostile}")
    assert (answer.status, answer.content_type) == (403, "text/plain")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "script" not in text
    await visitor.begin()


async def test_a_refusal_of_the_provider_is_named(visitor):
    back = await visitor.begin()
    state = parse_qs(urlsplit(back).query)["state"][0]
    answer, text = await visitor.get(f"{back.partition('?')[0]}?state={state}&error=access_denied")
    assert (answer.status, "access_denied" in text) == (403, True)


@pytest.mark.parametrize(
    "description",
    [
        {"issuer": "https://evil.example.org"},
        {"issuer": None},
        {"token_endpoint": "http://evil.example.org/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://id.example.org/a\r\nSet-Cookie: x=y"},
        {"jwks_uri": "http://evil.example.org/keys"},
        {"jwks_uri": 7},
        {"code_challenge_methods_supported": ["plain"]},
        {"padding": "x" * MAX_BYTES},
    ],
)
async def test_a_description_that_is_not_to_be_believed(provider, visitor, description):
    provider.description = description
    answer, text = await visitor.get(f"{visitor.origin}{ROOT}login")
    assert (answer.status, answer.content_type) == (502, "text/plain")
    assert "evil" not in text


async def redirect(request):
    raise web.HTTPFound("http://127.0.0.1:1/")


async def answer_at_length(request):
    return web.Response(text="x" * (MAX_BYTES + 1))


async def answer_nonsense(request):
    return web.Response(text="<html>")


async def answer_without_a_token(request):
    return web.json_response({"access_token": "a"})


async def hang_up(request):
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    "answer", [redirect, answer_at_length, answer_nonsense, answer_without_a_token, hang_up]
)
async def test_a_token_endpoint_that_misbehaves(provider, visitor, answer):
    provider.answer = answer
    response, _ = await visitor.log_in()
    assert (response.status, response.content_type) in {(502, "text/plain"), (403, "text/plain")}
    assert await visitor.is_out()
    provider.answer = None
    assert (await visitor.log_in())[0].status == 303


async def test_a_provider_that_does_not_answer_is_not_waited_for(provider, visitor, monkeypatch):
    closed = asyncio.Event()

    async def wait(request):
        await closed.wait()
        return web.Response()

    provider.answer = wait
    try:
        back = await visitor.begin()
        monkeypatch.setattr(fetch, "FETCH_SECONDS", 0.1)
        answer, _ = await visitor.get(back)  # Ends by our deadline, or never.
        assert answer.status == 502
    finally:
        closed.set()


@pytest.fixture
def unused_port_url():
    """An address that refuses connections: nothing listens at a port that is only bound."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


async def test_a_dead_provider_stops_no_console(unused_port_url):
    fake = FakeProvider()
    fake.url = unused_port_url
    async with open_console(fake) as origin, Browser(origin) as visitor:
        answer, text = await visitor.get(f"{origin}{ROOT}login")
        assert (answer.status, answer.content_type) == (502, "text/plain")
        assert fake.url not in text
        assert (await visitor.get(f"{origin}{ROOT}"))[0].status == 200
