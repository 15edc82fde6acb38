"""The file with tokens and access keys, while a process runs."""

import logging

import pytest

from eventmesh.http.auth.credential_file import (
    LOOK_SECONDS,
    MAX_BYTES,
    CredentialFile,
    read_credentials,
    write_credentials,
)
from eventmesh.model.access.credentials import Credentials, Token, digest_token
from eventmesh.model.errors import SettingsError
from eventmesh.testing.clock import ManualClock


def credentials(*names):
    tokens = [Token(name, digest_token(name), frozenset(("read",))) for name in names]
    return Credentials({token.digest: token for token in tokens}, {})


def names(file):
    return {token.name for token in file.credentials.tokens.values()}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "credentials"
    write_credentials(path, credentials("old"))
    return path


async def test_a_change_is_seen(path, clock):
    file = CredentialFile(path, clock)
    write_credentials(path, credentials("old", "new"))
    assert names(file) == {"old"}
    await clock.advance(LOOK_SECONDS)
    assert names(file) == {"old", "new"}


async def test_who_is_revoked_is_out(path, clock):
    file = CredentialFile(path, clock)
    write_credentials(path, credentials("another"))
    await clock.advance(LOOK_SECONDS)
    assert names(file) == {"another"}


@pytest.mark.parametrize("broken", ["[tokens", None, "x" * (MAX_BYTES + 1), b"\xff"])
async def test_a_broken_file_takes_nobody_out(path, clock, broken, caplog):
    file = CredentialFile(path, clock)
    path.unlink()
    if broken is not None:
        path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    await clock.advance(LOOK_SECONDS)
    assert names(file) == {"old"}
    assert "stay in force" in caplog.text
    write_credentials(path, credentials("new"))
    await clock.advance(LOOK_SECONDS)
    assert names(file) == {"new"}


def test_one_that_is_not_there_is_told(tmp_path, clock):
    with pytest.raises(SettingsError, match="'eventmesh token create' makes it"):
        CredentialFile(tmp_path / "nowhere", clock)


def test_only_its_owner_can_read_it(path):
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_that_others_can_read_is_warned_of(path, clock, caplog):
    path.chmod(0o644)
    CredentialFile(path, clock)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "chmod 600" in record.getMessage()


def test_nothing_is_left_beside_it(path):
    write_credentials(path, credentials("new"))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SettingsError, match="cannot be written"):
        write_credentials(tmp_path / "no" / "credentials", credentials())


def test_none_is_none_where_that_is_allowed(tmp_path):
    assert read_credentials(tmp_path / "nowhere", missing_ok=True) == credentials()
