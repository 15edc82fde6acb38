"""What attackers try with logins and sessions of the console."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from console_login import CHANGE, PURGE, ROOT, SESSION, Browser
from fake_oidc import CLIENT, encode_part
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"nonce": "another"}, "nonce is not ours"),
        ({"nonce": None}, "nonce is not ours"),
        ({"nonce": 7}, "nonce is not ours"),
        ({"aud": "another"}, "another audience"),
        ({"aud": [CLIENT, "another"]}, "another client"),
        ({"azp": "another"}, "another client"),
        ({"iss": "https://evil.example.org"}, "another issuer"),
        ({"exp": int(time.time()) - 3600}, "expired"),
        ({"exp": int(time.time()) - 1}, "expired"),
        ({"exp": None}, "exp is not a time"),
        ({"iat": None}, "when it was issued"),
        ({"iat": time.time() + 10**9}, "in the future"),
        ({"sub": None}, "no subject"),
        ({"sub": "ada\u202e"}, "cannot be used"),
    ],
)
async def test_an_id_token_that_is_not_for_this_login_is_refused(provider, visitor, claims, reason):
    provider.claims = claims
    answer, text = await visitor.log_in()
    assert (answer.status, answer.content_type) == (401, "text/plain")
    assert reason in text
    assert visitor.session is None


def sign_by_nobody(claims):
    return f"{encode_part({'alg': 'none'})}.{encode_part(claims)}."


def sign_by_the_secret(claims):
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key("s3cret: of the client" * 3))


def sign_by_another_key(claims):
    key = ECKey.generate_key("P-256", {"kid": "1"})
    return jwt.encode({"alg": "ES256", "kid": "1"}, claims, key)


@pytest.mark.parametrize("forge", [sign_by_nobody, sign_by_the_secret, sign_by_another_key])
async def test_a_forged_id_token_is_refused(provider, visitor, forge):
    provider.forge = forge
    answer, _ = await visitor.log_in()
    assert answer.status == 401
    assert await visitor.is_out()


async def test_another_state_is_refused(provider, visitor):
    back = await visitor.begin()
    state = parse_qs(urlsplit(back).query)["state"][0]
    for given in ("", "x", state[:-1], f"{state}x"):
        other = back.replace(f"state={state}", f"state={given}")
        answer, text = await visitor.get(f"{other}&error=<b>not+shown</b>")
        assert (answer.status, answer.content_type) == (400, "text/plain")
        assert "not shown" not in text
        await visitor.begin()  # It has a cookie again.
    assert provider.redeemed == []


async def test_a_login_of_another_browser_is_refused(provider, origin, visitor):
    """Login CSRF: the attacker has a victim end the login that the attacker has begun."""
    async with Browser(origin) as attacker:
        back = await attacker.begin()
    answer, _ = await visitor.get(back)
    assert answer.status == 400
    await visitor.begin()  # Also where the victim has begun one.
    answer, _ = await visitor.get(back)
    assert answer.status == 400
    assert await visitor.is_out()
    assert provider.redeemed == []


async def test_a_login_ends_once(provider, visitor):
    back = await visitor.begin()
    before = visitor.cookies
    assert (await visitor.get(back))[0].status == 303
    for name, text in before.items():
        visitor.plant(name, text)
    assert (await visitor.get(back))[0].status == 400
    assert len(provider.redeemed) == 1


async def test_a_code_of_another_login_is_refused_by_its_verifier(origin, visitor):
    """A code that was stolen of another's address bar is of no use in one's own login."""
    async with Browser(origin) as victim:
        stolen = parse_qs(urlsplit(await victim.begin()).query)["code"][0]
    back = await visitor.begin()
    own = parse_qs(urlsplit(back).query)["code"][0]
    answer, text = await visitor.get(back.replace(own, stolen))
    assert (answer.status, "invalid_grant" in text) == (403, True)
    assert await visitor.is_out()


async def test_a_cookie_that_was_changed_is_refused(visitor):
    back = await visitor.begin()
    ((name, text),) = visitor.cookies.items()
    content, _, signature = text.partition(".")
    for changed in (f"{content}x.{signature}", f"{content}.{signature[:-2]}xx", content, "." * 9):
        visitor.plant(name, changed)
        assert (await visitor.get(back))[0].status == 400


async def test_a_session_that_others_chose_is_not_taken_up(visitor):
    await visitor.log_in()
    ((name, first),) = [it for it in visitor.cookies.items() if it[0].startswith(SESSION)]
    await visitor.log_in()
    second = visitor.session
    assert second != first
    visitor.plant(name, first)  # The one before has ended with the new login.
    assert await visitor.is_out()
    visitor.plant(name, "chosen")
    assert await visitor.is_out()
    await visitor.log_in()
    assert visitor.session not in {"chosen", first, second}
    assert (await visitor.me())[0] == 200


async def test_after_logging_out_the_cookie_is_worth_nothing(visitor):
    await visitor.log_in()
    cookies = visitor.cookies
    assert await visitor.log_out() == 200
    for name, text in cookies.items():
        visitor.plant(name, text)
    assert await visitor.is_out()
    assert await visitor.log_out() == 200


@pytest.mark.parametrize("path", [PURGE, "logout"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example.org"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_change_of_another_page_is_refused(visitor, path, headers):
    await visitor.log_in()
    own = {"Origin": visitor.origin} if "Sec-Fetch-Site" in headers else {}
    assert await visitor.post(path, CHANGE | own | headers) == 403
    assert (await visitor.me())[0] == 200


async def test_another_page_reads_nothing_by_a_session(visitor):
    await visitor.log_in()
    for headers in ({"Origin": "http://evil.example.org"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await visitor.me(headers=headers))[0] == 403
    assert await visitor.post(PURGE, {"Origin": visitor.origin}) == 403  # Without the header.


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example.org/",
        "//evil.example.org",
        "/_console//..//evil",
        "/_console/../evil",
        "/_console/%252e%252e/evil",
        "/_console/%2e%2e/evil",
        "/_console/%2F..%2F",
        "/\\evil.example.org",
        "/_consolex",
        "/_console/login",
        "/_console/api/me",
        "/_console/a%0d%0aSet-Cookie:+x=y",
        "javascript:alert(1)",
        "/_console/" + "x" * 2000,
    ],
)
async def test_one_comes_back_to_the_console_only(visitor, to):
    answer, _ = await visitor.log_in(to)
    assert (answer.status, answer.headers["Location"]) == (303, ROOT)


@pytest.mark.parametrize("added", ["&iss=https://evil.example.org", "&code=x", "&state=x"])
async def test_an_answer_of_another_provider_or_with_two_codes_is_refused(provider, visitor, added):
    answer, _ = await visitor.get(await visitor.begin() + added)
    assert answer.status in (400, 401)
    assert provider.redeemed == []
