"""Keys of a file, which changes while a service runs."""

import hashlib
import os

import pytest

from eventmesh.auth import ApiKeys, Identity
from eventmesh.http.auth.api_keys import MAX_FILE, ApiKeyVerifier
from eventmesh.model.errors import SettingsError, Unauthenticated
from eventmesh.model.invocation import HttpRequest, RouteTemplate

ROUTE = RouteTemplate("GET /", (), has_body=False)


def request(**headers):
    return HttpRequest(ROUTE, "GET", "/", {}, {}, headers)


def digest(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text(f'[apikeys.partner]\nhash = "{digest("secret")}"\nscopes = ["a"]\n')
    return file


@pytest.fixture
def verifier(file, clock):
    return ApiKeyVerifier(ApiKeys(str(file), header="key"), clock)


def replace_file(file, text):
    """Change the file so that its time differs, whatever the file system's clock has."""
    file.write_text(text)
    os.utime(file, (1, 1))


async def test_a_key_is_somebody(verifier):
    partner = Identity("apikey:partner", "apikey", frozenset("a"))
    assert await verifier.identify(request(key="secret")) == partner
    assert await verifier.identify(request()) is None


@pytest.mark.parametrize("key", ["", "guess", "secret ", digest("secret"), "x" * 5000, "\udcff"])
async def test_any_other_key_is_refused(verifier, key):
    with pytest.raises(Unauthenticated) as caught:
        await verifier.identify(request(key=key))
    assert caught.value.challenge == 'ApiKey header="key"'


async def test_a_changed_file_is_read_again(verifier, file, clock):
    replace_file(file, f'[apikeys.other]\nhash = "{digest("new")}"')
    await clock.advance(1)
    assert (await verifier.identify(request(key="new"))).principal == "apikey:other"
    with pytest.raises(Unauthenticated):
        await verifier.identify(request(key="secret"))


async def test_a_broken_file_leaves_the_keys_as_they_were(verifier, file, clock, caplog):
    replace_file(file, "[apikeys")
    await clock.advance(1)
    assert await verifier.identify(request(key="secret"))
    await clock.advance(1)
    assert await verifier.identify(request(key="secret"))
    assert caplog.text.count("the API keys before the change stay in use") == 1
    file.unlink()
    await clock.advance(1)
    assert await verifier.identify(request(key="secret"))


async def test_a_key_expires(file, clock):
    moment = "1970-01-01T00:00:00Z" if clock.now() < 1 else "2000-01-01T00:00:00Z"
    file.write_text(f'[apikeys.old]\nhash = "{digest("secret")}"\nexpires = {moment}')
    verifier = ApiKeyVerifier(ApiKeys(str(file), header="key"), clock)
    if clock.now() > 946_684_800:
        with pytest.raises(Unauthenticated):
            await verifier.identify(request(key="secret"))
    else:
        assert await verifier.identify(request(key="secret"))
        await clock.advance(946_684_800 - clock.now())
        with pytest.raises(Unauthenticated):
            await verifier.identify(request(key="secret"))


@pytest.mark.parametrize(
    "text",
    [
        "[apikeys",
        "apikeys = 1",
        "[apikeys]\npartner = 'secret'",
        "[apikeys.partner]\n",
        "[apikeys.partner]\nhash = 'topsecret'",
        f"[apikeys.partner]\nhash = '{digest('x')}'\nscopes = 'a'",
        f"[apikeys.partner]\nhash = '{digest('x')}'\nscopes = [1]",
        f"[apikeys.partner]\nhash = '{digest('x')}'\nexpires = 'soon'",
        "\xff",
        "# " + "x" * MAX_FILE,
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_shows_no_secret(file, clock, text):
    file.write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match="cannot be used") as caught:
        ApiKeyVerifier(ApiKeys(str(file)), clock)
    assert "topsecret" not in str(caught.value)


def test_the_file_may_have_more_than_keys(file, clock):
    file.write_text('[tokens.ci]\nhash = "x"\n')
    ApiKeyVerifier(ApiKeys(str(file)), clock)
