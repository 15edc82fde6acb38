"""An identity survives the text that carries it, and hostile text is nobody's."""

import pytest

from eventmesh.engine.codecs.identity import MAX_IDENTITY, decode_identity, encode_identity
from eventmesh.model.access.identity import ANONYMOUS, LOCAL, Identity

ADA = Identity(
    "jwt:ada", "jwt", frozenset(("orders:read", "send")), {"iss": "https://id.example", "n": [1]}
)


@pytest.mark.parametrize("identity", [ADA, LOCAL, ANONYMOUS, Identity("apikey:grüße", "apikey")])
def test_what_is_encoded_is_decoded(identity):
    assert decode_identity(encode_identity(identity)) == identity


def test_nobody_costs_no_header():
    assert not encode_identity(ANONYMOUS)


def test_claims_that_are_too_large_are_left_out():
    large = Identity("jwt:ada", "jwt", ADA.scopes, {"photo": "x" * MAX_IDENTITY})
    assert decode_identity(encode_identity(large)) == Identity("jwt:ada", "jwt", ADA.scopes)


@pytest.mark.parametrize("claims", [{"a": object()}, {"many": [0] * 2000}])
def test_claims_that_cannot_be_carried_are_left_out(claims):
    given = Identity("custom:ada", "custom", frozenset(), claims)
    assert decode_identity(encode_identity(given)).principal == "custom:ada"
    assert decode_identity(encode_identity(given)).claims == {}


def test_scopes_that_are_too_many_are_left_out():
    many = Identity("jwt:ada", "jwt", frozenset(f"scope-{n}" for n in range(2000)))
    assert decode_identity(encode_identity(many)) == Identity("jwt:ada", "jwt")


@pytest.mark.parametrize("principal", ["a\nb", "x" * 600, "\ud800"])
def test_a_name_that_cannot_be_carried_is_nobodys(principal):
    assert not encode_identity(Identity(principal, "custom"))


@pytest.mark.parametrize(
    "text",
    [
        "user:ada",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        '{"p": 1, "m": ""}',
        '{"p": "a", "m": null}',
        '{"p": "a", "m": "b", "s": "manage"}',
        '{"p": "a", "m": "b", "s": [1]}',
        '{"p": "a", "m": "b", "c": []}',
        '{"p": "a\\nb", "m": "b"}',
        '{"p": "' + "a" * 600 + '", "m": ""}',
        '{"p": "a", "m": "b", "c": {"n": NaN}}',
        "[" * 5000,
        '{"p": "a", "m": "b", "c": {"x": "' + "a" * MAX_IDENTITY + '"}}',
        '{"p": "a", "m": "b", "c": [' + "0," * 1500 + "0]}",
        "\ud800",
    ],
)
def test_hostile_text_is_nobodys_and_no_error(text):
    assert decode_identity(text) == ANONYMOUS
