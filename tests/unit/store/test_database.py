"""Which errors of a database say that it cannot be used now."""

import pytest
from asyncpg import exceptions

from eventmesh.store.database import find_outage


@pytest.mark.parametrize(
    "error",
    [
        exceptions.CannotConnectNowError("the database system is starting up"),
        exceptions.InvalidPasswordError("password authentication failed"),  # It is being replaced.
        exceptions.TooManyConnectionsError("sorry, too many clients already"),
        ConnectionRefusedError(),
    ],
)
def test_what_is_tried_again(error):
    assert find_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.UndefinedTableError("no such table"),
        exceptions.InsufficientPrivilegeError("permission denied"),
        exceptions.QueryCanceledError("canceling statement due to statement timeout"),
        ValueError(),
    ],
)
def test_what_would_fail_again(error):
    assert find_outage(error) is None
