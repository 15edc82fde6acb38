"""The docs page in a browser: its Authorize button lets people call routes that ask for it."""

import hashlib
import json
import time

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from eventmesh import Service, on
from eventmesh.auth import ApiKeys, Identity, Jwt

ISSUER, KEY = "https://id.example.org", "key-of-a-partner"


@pytest.fixture
def signer():
    return ECKey.generate_key("P-256", {"kid": "k"})


@pytest.fixture
def service(tmp_path, signer):
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    keys, jwks = tmp_path / "keys.toml", tmp_path / "jwks.json"
    keys.write_text(f'[apikeys.partner]\nhash = "sha256:{digest}"\n')
    jwks.write_text(json.dumps({"keys": [signer.as_dict(private=False)]}))
    tokens = Jwt(issuer=ISSUER, audience="orders", jwks=str(jwks))
    service = Service("orders", auth=[ApiKeys(str(keys)), tokens])

    @service.function(on.get("/orders"))
    async def orders(identity: Identity) -> str:
        return identity.principal

    return service


class DocsPage:
    """What a person does on the page."""

    def __init__(self, page):
        self._page = page

    async def authorize(self, scheme, value):
        page = self._page
        await page.click(".scheme-container .authorize")
        box = page.locator(".auth-container", has_text=scheme)
        await box.locator("input").fill(value)
        await box.locator("button.authorize").click()
        await box.get_by_text("Authorized").wait_for()
        await page.click(".auth-container .btn-done")

    async def execute(self):
        """Try the only route, and return the status and the body that the page shows."""
        page = self._page
        if not await page.locator("button.execute").count():
            await page.click(".opblock-summary-control")
            await page.click(".try-out__btn")
        async with page.expect_response("**/orders") as response:
            await page.click("button.execute")
        # The page shows an earlier response until it has drawn this one.
        status = str((await response.value).status)
        shown = page.locator(".live-responses-table tbody")
        await shown.locator(".response-col_status", has_text=status).first.wait_for()
        return status, await shown.first.inner_text()


async def test_authorize_with_a_key_and_with_a_token(serving, service, signer, page):
    claims = {"iss": ISSUER, "aud": "orders", "sub": "ada", "exp": int(time.time()) + 3600}
    token = jwt.encode({"alg": "ES256", "kid": "k"}, claims, signer)
    docs = DocsPage(page)
    async with serving(service) as served:
        for scheme, value, principal in (
            ("X-API-Key", KEY, "key:partner"),
            ("bearer", token, "jwt:ada"),
        ):
            await page.goto(f"{served.url}/docs")
            assert (await docs.execute())[0] == "401"
            await docs.authorize(scheme, value)
            status, body = await docs.execute()
            assert (status, principal in body) == ("200", True)
    # The page does nothing against its own Content-Security-Policy.
    assert [each for each in page.errors if "401" not in each] == []
