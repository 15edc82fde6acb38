from __future__ import annotations

import pytest

from eventmesh.model.access.identity import ALL_SCOPES, ANONYMOUS, LOCAL, Identity, Scope


def test_a_caller_without_credentials_may_nothing() -> None:
    assert not any(ANONYMOUS.may(scope) for scope in _scopes())


def test_a_caller_on_this_machine_may_everything() -> None:
    assert all(LOCAL.may(scope) for scope in _scopes())
    assert frozenset(_scopes()) == ALL_SCOPES


@pytest.mark.parametrize("scope", ["invoke", "send"])
def test_a_caller_may_what_its_scopes_say(scope: Scope) -> None:
    identity = Identity("token:ci", "token", frozenset((scope,)))
    assert [each for each in _scopes() if identity.may(each)] == [scope]


def test_claims_are_not_shown() -> None:
    assert "7" not in repr(Identity("jwt:ada", "jwt", claims={"tenant": 7}))


def _scopes() -> tuple[Scope, ...]:
    return ("invoke", "send", "emit", "read", "manage")
