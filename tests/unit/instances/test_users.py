"""Which user runs the instances of a function."""

import os

import pytest

from eventmesh.instances import users
from eventmesh.instances.users import FIRST, LAST, choose_user


@pytest.fixture
def root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(users, "list_closed", lambda _: iter(()))


def test_each_function_has_its_own_where_the_service_is_root(root):
    first, second = choose_user("app.one", []), choose_user("app.two", [])
    assert first == choose_user("app.one", []) != second
    assert all(FIRST <= each <= LAST for each in (first, second))


def test_others_stay_the_user_they_are(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert choose_user("app.one", [__file__]) is None


def test_code_that_nobody_else_may_read_is_run_by_root_and_that_is_said(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "code.py").touch()
    assert closed in users.list_closed(str(closed / "code.py"))
    monkeypatch.setattr(users, "list_closed", lambda _: iter([closed]))
    assert choose_user("app.one", [__file__]) is None
    assert str(closed) in caplog.text
