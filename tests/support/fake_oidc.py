"""An OpenID Connect provider of the tests' own: real HTTP, and ID tokens with real signatures."""

import base64
import hashlib
import json
import secrets
import time
from contextlib import asynccontextmanager
from urllib.parse import unquote_plus, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey

CLIENT = "console"
SECRET = "s3cret: of the client"
PAGE = '<!doctype html><title>Provider</title><h1>Provider</h1><a href="{}">Log in as Ada</a>'


class FakeProvider:
    """Logs in a person with the scopes that a test says, and misbehaves as it says.

    `claims` change what ID tokens have: None takes one away. `description` changes what the
    provider says of itself. `forge` makes the ID token of its claims instead. `answer` is what the
    token endpoint answers instead. With `asks` people see a page and follow a link on it.
    `redeemed` has the forms that came to the token endpoint, `authorizations` their header.
    """

    def __init__(self):
        self.key = ECKey.generate_key("P-256", {"kid": "1", "use": "sig"})
        self.url = ""
        self.secret = SECRET
        self.scope = "openid eventmesh:*"
        self.claims = {}
        self.description = {}
        self.forge = None
        self.answer = None
        self.asks = False
        self.redeemed = []
        self.authorizations = []
        self._codes = {}

    @asynccontextmanager
    async def serve(self):
        """Serve it while entered; gives its issuer."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._describe)
        app.router.add_get("/keys", self._show_keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._redeem)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self.url
        finally:
            await runner.cleanup()

    async def _describe(self, request):
        description = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "code_challenge_methods_supported": ["S256"],
        }
        return web.json_response(description | self.description)

    async def _show_keys(self, request):
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    async def _authorize(self, request):
        asked = dict(request.query)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        answer = urlencode({"code": code, "state": asked["state"]})
        back = f"{asked['redirect_uri']}?{answer}"
        if self.asks:
            page = PAGE.format(back.replace("&", "&amp;"))
            return web.Response(text=page, content_type="text/html")
        raise web.HTTPFound(back)

    async def _redeem(self, request):
        form = dict(await request.post())
        self.redeemed.append(form)
        self.authorizations.append(request.headers.get("Authorization", ""))
        if self.answer is not None:
            return await self.answer(request)
        asked = self._codes.pop(form["code"], None)
        if not self._knows_client(form, self.authorizations[-1]):
            return web.json_response({"error": "invalid_client"}, status=401)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or challenge != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = self._issue(asked["nonce"])
        return web.json_response({"access_token": "a", "token_type": "Bearer", "id_token": token})

    def _knows_client(self, form, authorization):
        if not self.secret:
            return form.get("client_id") == CLIENT and not authorization
        if "client_secret" in form:
            return form["client_secret"] == self.secret
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        return [unquote_plus(text) for text in pair.split(":")] == [CLIENT, self.secret]

    def _issue(self, nonce):
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "ada",
            "iat": now,
            "exp": now + 3600,
            "nonce": nonce,
            "scope": self.scope,
            **self.claims,
        }
        claims = {name: claim for name, claim in claims.items() if claim is not None}
        if self.forge is not None:
            return self.forge(claims)
        return jwt.encode({"alg": "ES256", "kid": "1"}, claims, self.key)


def encode_part(members):
    """One part of a token that nobody signs."""
    return base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()
