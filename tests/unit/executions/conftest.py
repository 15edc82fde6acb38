"""A service with a store of its own, for the tests of durable functions."""

from pathlib import Path

import pytest

from eventmesh import Service


@pytest.fixture
def shop(tmp_path: Path) -> Service:
    return Service("shop", store=f"sqlite:///{tmp_path}/shop.db")
