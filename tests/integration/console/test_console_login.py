"""Logging in to the console through a provider, and out."""

import logging
from urllib.parse import parse_qs, urlsplit

import pytest
from console_login import CHANGE, PURGE, ROOT, SESSION, Browser, open_console

from eventmesh.model.errors import SettingsError


def audited(caplog):
    return [
        (record.action, record.principal, record.outcome)
        for record in caplog.records
        if record.name == "eventmesh.audit" and "log" in record.action
    ]


async def test_who_logs_in_may_do_what_the_id_token_says(provider, visitor, caplog):
    caplog.set_level(logging.INFO, "eventmesh.audit")
    status, problem = await visitor.me()
    assert (status, problem["login"]) == (
        401,
        {"at": f"{visitor.origin}{ROOT}login", "tokens": False},
    )
    answer, _ = await visitor.log_in("/_console/failures/shop.sell?group=1")
    assert (answer.status, answer.headers["Location"]) == (
        303,
        "/_console/failures/shop.sell?group=1",
    )
    status, me = await visitor.me()
    assert (status, me["principal"], me["session"]) == (200, "oidc:ada", True)
    assert me["scopes"] == ["emit", "invoke", "manage", "read", "send"]
    assert await visitor.post(PURGE, CHANGE | {"Origin": visitor.origin}) == 422
    assert await visitor.log_out() == 200
    assert visitor.session is None
    assert await visitor.is_out()
    assert audited(caplog) == [
        ("console: log in", "oidc:ada", "admitted"),
        ("console: log out", "oidc:ada", "admitted"),
    ]
    (form,) = provider.redeemed
    assert "client_secret" not in form


async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(visitor):
    answer, _ = await visitor.get(f"{visitor.origin}{ROOT}login")
    (begun,) = answer.headers.getall("Set-Cookie")
    assert ("HttpOnly" in begun, "SameSite=Lax" in begun, "Secure" in begun) == (True, True, False)
    answer, _ = await visitor.log_in()
    session, cleared = answer.headers.getall("Set-Cookie")
    assert session.startswith(f"{SESSION}{urlsplit(visitor.origin).port}=")
    assert ("HttpOnly" in session, "SameSite=Strict" in session) == (True, True)
    assert "Max-Age=0" in cleared
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_over_https_cookies_are_of_this_host_alone(provider):
    settings = {"console_url": "https://Console.example.org/", "allowed_hosts": ("127.0.0.1",)}
    async with open_console(provider, **settings) as origin, Browser(origin) as visitor:
        answer, _ = await visitor.get(f"{origin}{ROOT}login")
        query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["redirect_uri"] == ["https://console.example.org/_console/login/callback"]
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-eventmesh-login=")
    assert "; Path=/;" in cookie
    assert "; Secure" in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("secret", ["", "another"])
async def test_a_public_client_logs_in_by_pkce_alone(provider, secret):
    provider.secret = secret
    if secret:
        provider.description = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    async with open_console(provider) as origin, Browser(origin) as visitor:
        await visitor.log_in()
        assert (await visitor.me())[0] == 200
    assert provider.authorizations == [""]
    assert provider.redeemed[0].get("client_secret", "") == secret


async def test_scopes_may_be_in_another_claim(provider):
    provider.scope = "openid eventmesh:*"
    provider.claims = {"groups": ["staff", "eventmesh:read", "eventmesh:nonsense"]}
    async with (
        open_console(provider, console_oidc_claim="groups") as origin,
        Browser(origin) as visitor,
    ):
        await visitor.log_in()
        assert (await visitor.me())[1]["scopes"] == ["read"]
        assert await visitor.post(PURGE, CHANGE | {"Origin": origin}) == 403


@pytest.mark.parametrize("scope", [None, "openid profile", "read", "eventmesh:invoke", 7])
async def test_who_has_no_scope_is_not_let_in(provider, visitor, scope, caplog):
    caplog.set_level(logging.INFO, "eventmesh.audit")
    provider.scope = scope
    answer, text = await visitor.log_in()
    assert (answer.status, answer.content_type) == (403, "text/plain")
    assert "oidc:ada may not use this console" in text
    assert await visitor.is_out()
    assert audited(caplog)[0][2].startswith("refused: oidc:ada may not")


async def test_a_stream_ends_with_its_session(visitor):
    await visitor.log_in()
    async with visitor.http.get(f"{visitor.origin}{ROOT}api/events") as stream:
        assert (await stream.content.readuntil(b"\n\n")).startswith(b"event: snapshot")
        assert await visitor.log_out() == 200
        while await stream.content.readany():
            pass


async def test_a_token_counts_before_a_session(provider, make_auth_file):
    file, token = make_auth_file("ci", "read")
    async with open_console(provider, auth_file=file) as origin, Browser(origin) as visitor:
        assert (await visitor.me())[1]["login"]["tokens"] is True
        await visitor.log_in()
        assert (await visitor.me())[1]["principal"] == "oidc:ada"
        by_token = {"Authorization": f"Bearer {token}"}
        status, me = await visitor.me(headers=by_token)
        assert (status, me["principal"], me["session"]) == (200, "token:ci", False)
        wrong = {"Authorization": "Bearer em_nonsense"}
        assert (await visitor.me(headers=wrong))[0] == 401
        assert await visitor.post(PURGE, CHANGE | by_token) == 403


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"console_url": ""}, "are set together"),
        ({"console_oidc_issuer": ""}, "are set together"),
        ({"console_oidc_client_id": ""}, "are set together"),
        ({"console_url": "http://console.example.org"}, "https://"),
        ({"console_url": "https://console.example.org/base"}, "without a path"),
        ({"console_oidc_issuer": "http://id.example.org"}, "https://"),
        ({"console_oidc_scope": "profile"}, "lacks openid"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(provider, settings, reason):
    with pytest.raises(SettingsError, match=reason):
        async with open_console(provider, **settings):
            pass


async def test_without_a_provider_nothing_answers(provider):
    nothing = dict.fromkeys(
        (
            "console_url",
            "console_oidc_issuer",
            "console_oidc_client_id",
            "console_oidc_client_secret",
        ),
        "",
    )
    async with open_console(provider, **nothing) as origin, Browser(origin) as visitor:
        assert (await visitor.get(f"{origin}{ROOT}login"))[0].status == 404
        assert (await visitor.get(f"{origin}{ROOT}login/callback"))[0].status == 404
        assert await visitor.log_out() in (404, 405)
        assert (await visitor.me())[1]["session"] is False
