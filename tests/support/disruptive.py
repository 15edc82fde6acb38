"""Tests that break a server: they have one that no other test uses at the time."""

import pytest

DISRUPTIVE = "disruptive"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Have one process run all tests that are disruptive."""
    for item in items:
        if is_disruptive(item):
            item.add_marker(pytest.mark.xdist_group(DISRUPTIVE))


def is_disruptive(item):
    return item.get_closest_marker(DISRUPTIVE) is not None
