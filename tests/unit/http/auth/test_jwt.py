"""Tokens of an issuer, and those that are none."""

import base64
import hmac
import json
import math
import subprocess
import sys

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry
from multidict import CIMultiDict

from eventmesh.http.auth.jwt import (
    MAX_TOKEN,
    SYMMETRIC,
    JwtAuthenticator,
    JwtVerifier,
    identity_from,
    token_scopes,
)
from eventmesh.model.errors import DeclarationError, SettingsError, Unauthenticated

ISSUER = "https://id.example.org"
ANY = JWSRegistry(algorithms=list(JWSRegistry.algorithms), strict_check_header=False)


def jwks(*keys, **members):
    return {"keys": [{**key.as_dict(private=False), **members} for key in keys]}


@pytest.fixture
def verifier(rsa, ec, ed, clock):
    return JwtVerifier(ISSUER, "shop", keys=jwks(rsa, ec, ed), clock=clock)


@pytest.fixture
def claims(clock):
    return {"iss": ISSUER, "aud": "shop", "sub": "user-7", "exp": clock.now() + 300}


def sign(claims, key, **header):
    header = {"alg": "RS256", "kid": key.kid, **header}
    given = {name: text for name, text in header.items() if text is not None}
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jws.serialize_compact(given, payload, key, registry=ANY)


def segment(members):
    return base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()


async def refuse(verifier, token, reason):
    with pytest.raises(Unauthenticated, match=reason) as caught:
        await verifier.verify(token)
    assert caught.value.challenge.startswith('Bearer error="invalid_token"')
    return caught.value


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("rsa", "RS256"), ("rsa", "PS384"), ("ec", "ES256"), ("ed", "Ed25519"), ("ed", "EdDSA")],
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_a_token_of_the_issuer_is_accepted(verifier, claims, request, name, algorithm):
    token = sign(claims, request.getfixturevalue(name), alg=algorithm, typ="at+jwt")

    assert (await verifier.verify(token))["sub"] == "user-7"


async def test_a_token_without_a_key_id_is_one_of_the_only_key(claims, rsa, ec, clock):
    one = JwtVerifier(ISSUER, "shop", keys=jwks(rsa, ec), clock=clock)
    two = JwtVerifier(
        ISSUER, "shop", keys=jwks(rsa, RSAKey.generate_key(2048, {"kid": "2"})), clock=clock
    )
    token = sign(claims, rsa, kid=None)

    assert await one.verify(token)
    await refuse(two, token, "not one of the issuer's")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://evil.example.org"}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"aud": "shop2"}, "another audience"),
        ({"aud": ["bank", {}]}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"exp": None}, "exp is not a time"),
        ({"exp": "tomorrow"}, "exp is not a time"),
        ({"exp": True}, "exp is not a time"),
        ({"exp": -1e300}, "has expired"),
        ({"nbf": math.inf}, "no JSON object"),
        ({"nbf": 1e300}, "not valid yet"),
        ({"nbf": "now"}, "nbf is not a time"),
        ({"iat": 1e300}, "issued in the future"),
        ({"sub": ""}, "no subject"),
        ({"sub": 7}, "no subject"),
        ({"sub": "x" * 256}, "no subject"),
    ],
)
async def test_a_token_for_somebody_else_or_another_time_is_refused(
    verifier, claims, rsa, changed, reason
):
    await refuse(verifier, sign({**claims, **changed}, rsa), reason)


async def test_clocks_may_differ_by_the_leeway(verifier, claims, rsa, clock):
    now = clock.now()
    assert await verifier.verify(sign({**claims, "exp": now - 59, "nbf": now + 59}, rsa))
    await refuse(verifier, sign({**claims, "exp": now - 60}, rsa), "has expired")
    await refuse(verifier, sign({**claims, "nbf": now + 61}, rsa), "not valid yet")


async def test_several_audiences(claims, rsa, clock):
    verifier = JwtVerifier(ISSUER, ["shop", "bank"], keys=jwks(rsa), clock=clock)

    assert await verifier.verify(sign({**claims, "aud": ["x", "bank"]}, rsa))


async def test_an_unsigned_token_is_refused(verifier, claims):
    for name in ("none", "None", "NONE"):
        token = f"{segment({'alg': name, 'kid': 'rsa'})}.{segment(claims)}."
        await refuse(verifier, token, "algorithm is not accepted")


async def test_a_public_key_is_no_secret(verifier, claims, rsa):
    text = f"{segment({'alg': 'HS256', 'kid': 'rsa'})}.{segment(claims)}"
    for pem in (rsa.as_pem(private=False), rsa.as_pem(private=False).strip()):
        made = hmac.digest(pem, text.encode(), "sha256")
        token = f"{text}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"
        await refuse(verifier, token, "algorithm is not accepted")


async def test_a_key_of_one_kind_signs_nothing_of_another(verifier, claims, rsa, ec):
    await refuse(verifier, sign(claims, rsa, kid="ec"), "not one of the issuer's")
    await refuse(verifier, sign(claims, ec, alg="ES256", kid="rsa"), "not one of the issuer's")


async def test_a_key_that_the_token_brings_is_not_used(verifier, claims):
    evil = RSAKey.generate_key(2048, {"kid": "rsa"})
    public = evil.as_dict(private=False)
    for header in (
        {"jwk": public},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/certificate"},
        {"x5c": ["MIIB"]},
    ):
        await refuse(verifier, sign(claims, evil, **header), "signature is wrong")


@pytest.mark.parametrize("key_id", ["", "../../dev/null", "' OR 1=1 --", "rsa\x00", "ec\n", "x"])
async def test_a_key_id_is_looked_up_and_nothing_else(verifier, claims, rsa, key_id):
    await refuse(verifier, sign(claims, rsa, kid=key_id), "not one of the issuer's")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"crit": ["exp"], "exp": 1}, "cannot be read|critical"),
        ({"crit": ["b64"], "b64": False}, "critical"),
        ({"crit": []}, "critical"),
        ({"kid": 7}, "cannot be read|not a text"),
        ({"kid": ["rsa"]}, "cannot be read|not a text"),
        ({"typ": "logout+jwt"}, "another type"),
        ({"typ": 7}, "cannot be read|another type"),
        ({"alg": 7}, "algorithm"),
        ({"alg": None}, "algorithm|cannot be read"),
    ],
)
async def test_a_header_that_is_not_understood_is_refused(verifier, claims, rsa, header, reason):
    signature = sign(claims, rsa).rpartition(".")[2]
    head = segment({"alg": "RS256", "kid": "rsa", **header})

    await refuse(verifier, f"{head}.{segment(claims)}.{signature}", reason)


async def test_a_changed_token_is_refused(verifier, claims, rsa):
    head, _, signature = sign(claims, rsa).split(".")

    for other in ({**claims, "sub": "admin"}, {**claims, "scope": "eventmesh:*"}):
        await refuse(verifier, f"{head}.{segment(other)}.{signature}", "signature is wrong")
    await refuse(verifier, f"{head}.{segment(claims)}.", "signature is wrong")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        "a.b",
        "a.b.c.d",
        "ä.b.c",
        "e30.e30.e30",
        "W10.e30.e30",
        "WyJhbGciXQ.e30.e30",
        "bnVsbA.e30.e30",
        "x" * (MAX_TOKEN + 1),
        base64.urlsafe_b64encode(b'{"alg":' + b"[" * 3000).decode() + ".e30.e30",
        base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.e30",
    ],
)
async def test_what_is_no_token_is_refused(verifier, token):
    await refuse(verifier, token, "token")


async def test_signed_claims_that_are_no_object_are_refused(verifier, rsa):
    for claims in (b"[]", b"null", b"{", b"\xff", b"[" * 5000):
        await refuse(verifier, sign(claims, rsa), "no JSON object")


async def test_shared_secrets_are_taken_where_they_are_asked_for(claims, rsa, clock):
    secret = OctKey.generate_key(256, {"kid": "s"})
    keys = {"keys": [secret.as_dict(private=True)]}
    verifier = JwtVerifier(ISSUER, "shop", keys=keys, algorithms=SYMMETRIC, clock=clock)

    assert await verifier.verify(sign(claims, secret, alg="HS256"))
    await refuse(verifier, sign(claims, rsa), "algorithm")


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": ""},
        {"audience": ""},
        {"audience": []},
        {"keys": None},
        {"jwks_url": "https://id.example.org/keys"},
        {"algorithms": ["none"]},
        {"algorithms": "RS256"},
        {"algorithms": []},
        {"algorithms": ["RS256", "HS256"]},
        {"keys": None, "jwks_url": "https://id.example.org/keys", "algorithms": ["HS256"]},
        {"keys": {}},
        {"keys": {"keys": []}},
        {"algorithms": ["HS256"]},
    ],
)
def test_options_that_make_no_sense_are_refused(rsa, options):
    given = {"issuer": ISSUER, "audience": "shop", "keys": jwks(rsa), **options}
    with pytest.raises(DeclarationError):
        JwtVerifier(given.pop("issuer"), given.pop("audience"), **given)


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_keys_that_are_weak_or_for_something_else_are_not_used(rsa):
    weak = RSAKey.generate_key(1024, {"kid": "weak"})
    private = {"keys": [{**rsa.as_dict(private=False), "use": "enc"}]}
    other = {"keys": [{**rsa.as_dict(private=False), "key_ops": ["encrypt"]}, 7, {"kty": "XX"}]}
    curve = jwks(ECKey.generate_key("secp256k1", {"kid": "k"}))
    short = {"keys": [{"kty": "oct", "k": "c2hvcnQ", "kid": "s"}]}

    for keys in (jwks(weak), private, other, curve, jwks(rsa, alg="RS1")):
        with pytest.raises(DeclarationError, match="there is no key"):
            JwtVerifier(ISSUER, "shop", keys=keys)
    with pytest.raises(DeclarationError, match="there is no key"):
        JwtVerifier(ISSUER, "shop", keys=short, algorithms=["HS256"])


async def test_keys_in_a_file(rsa, claims, clock, tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(jwks(rsa)))

    verifier = JwtVerifier(ISSUER, "shop", jwks_file=str(file), clock=clock)
    assert await verifier.verify(sign(claims, rsa))

    for text in ("", "{}", "[]"):
        file.write_text(text)
        with pytest.raises(SettingsError, match="JWK set"):
            JwtVerifier(ISSUER, "shop", jwks_file=str(file))
    with pytest.raises(SettingsError, match="No such file"):
        JwtVerifier(ISSUER, "shop", jwks_file=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("members", "scopes"),
    [
        ({}, set()),
        ({"scope": "openid eventmesh:invoke eventmesh:everything"}, {"invoke"}),
        ({"scp": ["eventmesh:read", 7]}, {"read"}),
        ({"scp": "eventmesh:send eventmesh:emit"}, {"send", "emit"}),
        ({"scope": "invoke manage"}, set()),
        ({"scope": "eventmesh:*"}, {"invoke", "send", "emit", "read", "manage"}),
        ({"scope": 7}, set()),
    ],
)
def test_the_scopes_of_an_identity(members, scopes):
    identity = identity_from({"sub": "user-7", **members})

    assert identity.principal == "jwt:user-7"
    assert identity.method == "jwt"
    assert identity.scopes == scopes


def test_scopes_without_a_prefix():
    assert identity_from({"sub": "a", "scope": "invoke"}, "").scopes == {"invoke"}
    assert token_scopes({"scope": "a b"}) == {"a", "b"}


class Headers:
    def __init__(self, *more, **headers):
        self.headers = CIMultiDict([*headers.items(), *more])


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic a.b.c"}, {"Authorization": "Bearer em_abc"}]
)
async def test_other_credentials_are_left_to_others(verifier, headers):
    assert await JwtAuthenticator(verifier).authenticate(Headers(**headers)) is None


async def test_several_headers_are_refused(verifier, claims, rsa):
    bearer = f"Bearer {sign(claims, rsa)}"
    request = Headers(("authorization", "Bearer em_x"), Authorization=bearer)
    with pytest.raises(Unauthenticated, match="several"):
        await JwtAuthenticator(verifier).authenticate(request)


async def test_a_bearer_has_the_identity_of_the_token(verifier, claims, rsa):
    token = sign({**claims, "scope": "eventmesh:read"}, rsa)

    identity = await JwtAuthenticator(verifier).authenticate(
        Headers(Authorization=f"bearer {token}")
    )

    assert identity.principal == "jwt:user-7"
    assert identity.claims["iss"] == ISSUER
    with pytest.raises(Unauthenticated):
        await JwtAuthenticator(verifier).authenticate(Headers(Authorization=f"Bearer {token}x"))


async def test_a_token_that_comes_again_is_checked_again(rsa, claims, clock):
    verifier = JwtVerifier(ISSUER, "shop", keys=jwks(rsa), clock=clock)
    token = sign(claims, rsa)
    first = await verifier.verify(token)
    first["sub"] = "admin"

    assert (await verifier.verify(token))["sub"] == "user-7"
    await refuse(verifier, token[:-4] + "AAAA", "signature is wrong")
    await clock.advance(361)
    await refuse(verifier, token, "has expired")


async def test_a_token_that_comes_again_needs_a_key_that_is_still_there(
    rsa, claims, clock, monkeypatch
):
    verifier = JwtVerifier(ISSUER, "shop", keys=jwks(rsa), clock=clock)
    token = sign({**claims, "exp": clock.now() + 1e6}, rsa)
    await verifier.verify(token)
    other = JwtVerifier(ISSUER, "shop", keys=jwks(RSAKey.generate_key(2048, {"kid": "x"})))
    monkeypatch.setattr(verifier, "_source", vars(other)["_source"])

    await refuse(verifier, token, "not one of the issuer's")


async def test_few_tokens_are_kept(rsa, claims, clock, monkeypatch):
    monkeypatch.setattr("eventmesh.http.auth.jwt.MAX_KEPT", 3)
    verifier = JwtVerifier(ISSUER, "shop", keys=jwks(rsa), clock=clock)
    for number in range(5):
        await verifier.verify(sign({**claims, "sub": f"user-{number}"}, rsa))
    await verifier.verify(sign({**claims, "more": "x" * 5000}, rsa))

    assert len(vars(verifier)["_kept"]) == 3


def test_without_joserfc_it_is_said_what_to_install():
    program = (
        "import sys; sys.modules['joserfc'] = None\n"
        "from eventmesh.http.auth.jwt import JwtVerifier\n"
        "from eventmesh.model.errors import DeclarationError\n"
        "try: JwtVerifier('i', 'a', keys={})\n"
        "except DeclarationError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (run.stdout, run.stderr) == ("JWTs need joserfc: install eventmesh[jwt]\n", "")
