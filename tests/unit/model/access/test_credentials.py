"""Tokens and access keys, and the text of the file that holds them."""

from dataclasses import replace

import pytest

from eventmesh.model.access.credentials import (
    AccessKey,
    Credentials,
    Token,
    digest_token,
    format_credentials,
    new_access_key,
    new_token,
    parse_credentials,
)
from eventmesh.model.errors import SettingsError

DIGEST = digest_token("em_x")
TOKEN = f'[tokens.ci]\nhash = "{DIGEST}"\nscopes = ["send"]\n'
KEY = '[keys.AKIDEXAMPLE000000]\nsecret = "wJalrXUtnFEMI/K7MDENG"\nscopes = ["invoke"]\n'


def test_what_is_written_is_read_again():
    token = Token("ci", DIGEST, frozenset(("send", "emit")), 1_800_000_000.0, 1_900_000_000.0)
    key = new_access_key(frozenset(("invoke",)), 1_800_000_000.0, None)
    key = replace(key, session_token="session/of+16=characters")
    credentials = Credentials({token.digest: token}, {key.id: key})
    assert parse_credentials(format_credentials(credentials)) == credentials


def test_no_two_secrets_are_the_same():
    assert len({new_token() for _ in range(100)}) == 100
    keys = [new_access_key(frozenset(("invoke",)), 0.0, None) for _ in range(100)]
    assert len({key.id for key in keys}) == len({key.secret for key in keys}) == 100


def test_a_token_has_256_random_bits():
    assert len(new_token()) == len("em_") + 43


@pytest.mark.parametrize(
    "value", [parse_credentials(TOKEN).tokens[DIGEST], parse_credentials(KEY).keys.popitem()[1]]
)
def test_no_secret_is_shown(value):
    assert DIGEST not in repr(value)
    assert "wJalr" not in repr(value)


def test_what_they_are_called():
    assert Token("ci", DIGEST, frozenset()).principal == "token:ci"
    assert AccessKey("AKID", "x", frozenset()).principal == "key:AKID"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tokens", "it is not TOML"),
        ('hush = "hush"', "it has 'hush'"),
        ("tokens = 7", "'tokens' is not a table"),
        ("[tokens]\nci = 7", "[tokens.ci] is not a table"),
        ("[tokens.ci]", "has no 'hash'"),
        ('[tokens.ci]\nhash = "hush"\nscopes = ["send"]', "hash must be 'sha256:'"),
        (f'[tokens.ci]\nhash = "{DIGEST}"', "has no 'scopes'"),
        (TOKEN.replace('["send"]', '["hush"]'), "its scopes must be a list of"),
        (TOKEN.replace('["send"]', "[]"), "its scopes must be a list of"),
        (TOKEN.replace('["send"]', '"send"'), "its scopes must be a list of"),
        (TOKEN + 'password = "hush"', "has 'password', which means nothing"),
        (TOKEN + 'expires = "hush"', "expires must be a time"),
        (TOKEN + "expires = 2027-01-01", "expires must be a time"),
        (TOKEN + "expires = 2027-01-01T00:00:00", "expires must be a time"),
        (TOKEN.replace("tokens.ci", 'tokens."a b"'), "a token cannot be called"),
        (KEY.replace("wJalrXUtnFEMI/K7MDENG", "hush"), "secret must be a text of 16"),
        (KEY + 'session_token = "hush"', "session_token must be a text of 16"),
        (KEY.replace("wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI K7MDENG"), "secret must be"),
        (KEY.replace("AKIDEXAMPLE000000", "akid"), "an id has 16 to 128"),
    ],
)
def test_what_is_wrong_is_said_without_a_secret(text, said):
    with pytest.raises(SettingsError) as caught:
        parse_credentials(text)
    assert said in str(caught.value)
    assert "wJalr" not in str(caught.value)
    assert DIGEST not in str(caught.value)
