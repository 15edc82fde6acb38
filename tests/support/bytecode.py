"""Compile the package before the tests start processes: each would do so for itself."""

import compileall
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pytest_configure(config):
    # The processes themselves write no bytecode: tests change files too fast for its time stamps.
    if not hasattr(config, "workerinput"):
        for package in ("eventmesh", "services"):
            compileall.compile_dir(ROOT / package, quiet=2)
