"""Which errors of a database say that it cannot be used now."""

import logging

import pytest
from asyncpg import exceptions

from eventmesh.model.errors import StoreUnavailable
from eventmesh.store.database import find_outage, log_failed_chore


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


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (StoreUnavailable("the database is away"), logging.DEBUG),
        (TimeoutError(), logging.DEBUG),
        (PermissionError("permission denied for table"), logging.WARNING),
    ],
)
def test_a_chore_that_somebody_must_mend_is_a_warning(caplog, error, level):
    log = logging.getLogger("eventmesh.store")
    with caplog.at_level(logging.DEBUG, log.name):
        log_failed_chore(log, "old rows could not be dropped", error)
    assert [(each.levelno, each.exc_info[1]) for each in caplog.records] == [(level, error)]
    assert "old rows could not be dropped" in caplog.text
