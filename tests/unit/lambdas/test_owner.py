"""Whose connection it is, also where the descriptors of other users cannot be read."""

import os
import socket

import pytest

from eventmesh.lambdas import owner


@pytest.fixture
def connection():
    """The far end of a connection of this process, and the port that it is to."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        yield ours.getsockname(), server.getsockname()[1]


def test_the_process_that_holds_the_socket_is_found(connection):
    assert owner.find_owner(os.getpid(), *connection) == os.getpid()
    assert owner.find_owner(1, ("127.0.0.1", 1), connection[1]) is None


def test_without_the_descriptors_only_a_user_of_its_own_tells(connection, monkeypatch):
    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(owner, "_read_link", refuse)
    assert owner.find_owner(os.getpid(), *connection) is None, "all of the service's user are alike"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert owner.find_owner(os.getpid(), *connection) == os.getpid()
