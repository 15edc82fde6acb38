"""Sessions and logins that have begun: how many, how long, and whose."""

import pytest

from eventmesh.console.api.login.pending import LOGIN_SECONDS, MAX_USED, PendingLogins
from eventmesh.console.api.login.sessions import (
    MAX_OF_ONE,
    MAX_SECONDS,
    MAX_SESSIONS,
    Sessions,
)
from eventmesh.model.access.identity import Identity
from eventmesh.model.errors import Unauthenticated

ADA = Identity("oidc:ada", "oidc")


async def test_a_session_ends_with_its_id_token(clock):
    sessions = Sessions(clock)
    text, seconds = sessions.begin(ADA, clock.now() + 59.5)
    assert seconds == 60
    await clock.advance(59)
    assert sessions.find(text) is ADA
    await clock.advance(0.5)
    assert sessions.find(text) is None


async def test_a_session_ends_however_long_its_id_token_is_valid(clock):
    sessions = Sessions(clock)
    text, seconds = sessions.begin(ADA, clock.now() + 10**9)
    assert seconds == MAX_SECONDS
    await clock.advance(MAX_SECONDS)
    assert sessions.find(text) is None


def test_no_session_begins_with_an_id_token_that_has_expired(clock):
    with pytest.raises(Unauthenticated, match="expired"):
        Sessions(clock).begin(ADA, clock.now())


def test_one_person_drives_out_nobody_else(clock):
    sessions = Sessions(clock)
    other, _ = sessions.begin(Identity("oidc:bob", "oidc"), clock.now() + 9)
    texts = [sessions.begin(ADA, clock.now() + 9)[0] for _ in range(MAX_OF_ONE + 2)]
    assert [sessions.find(text) is ADA for text in texts] == [False, False, *[True] * MAX_OF_ONE]
    assert sessions.find(other) is not None


async def test_there_are_so_many_sessions_and_no_more(clock):
    sessions = Sessions(clock)

    def begin(number, seconds):
        return sessions.begin(Identity(f"oidc:{number}", "oidc"), clock.now() + seconds)[0]

    short = begin("short", 5)
    texts = [begin(number, 99) for number in range(MAX_SESSIONS - 1)]
    assert sessions.find(short) is not None
    texts.append(begin("one more", 99))  # The oldest one ends.
    assert sessions.find(short) is None
    assert all(sessions.find(text) for text in texts)
    await clock.advance(99)
    begin("later", 99)
    assert len(vars(sessions)["_sessions"]) == 1


async def test_a_login_that_takes_too_long_does_not_end(clock):
    logins = PendingLogins(clock)
    login, text = logins.begin("/_console/")
    await clock.advance(LOGIN_SECONDS)
    assert logins.end(text, login.attempt.state) is None


def test_a_login_ends_once_with_the_secrets_that_it_began_with(clock):
    logins = PendingLogins(clock)
    login, text = logins.begin("/_console/timers")
    assert logins.end(text, login.attempt.state) == login
    assert logins.end(text, login.attempt.state) is None
    assert login.attempt.verifier not in text
    assert login.attempt.nonce not in text


def test_a_login_of_another_process_is_not_ours(clock):
    login, text = PendingLogins(clock).begin("/_console/")
    assert PendingLogins(clock).end(text, login.attempt.state) is None


def test_logins_that_ended_are_remembered_up_to_a_number(clock):
    logins = PendingLogins(clock)
    for _ in range(MAX_USED + 5):
        login, text = logins.begin("/_console/")
        assert logins.end(text, login.attempt.state)
    assert len(vars(logins)["_used"]) == MAX_USED
