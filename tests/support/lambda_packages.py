"""What Lambda functions of people import: `make test` installs it, apart from all else."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "build" / "lambdas"


def find(name):
    found = FOLDER / name
    if not found.exists():
        raise RuntimeError(f"there is no {found}: make build/lambdas/.installed")
    return found


@pytest.fixture(scope="session")
def python_packages():
    """The folder with Powertools, FastAPI and Mangum: a function has it in its PYTHONPATH."""
    return find("python")


@pytest.fixture
def node_code(tmp_path):
    """The folder of the functions in Node, with AWS's client for Node beside it, as npm puts it."""
    folder = tmp_path / "node"
    folder.mkdir()
    for source in (Path(__file__).parent / "lambdas" / "node").iterdir():
        (folder / source.name).symlink_to(source)
    (folder / "node_modules").symlink_to(find("node/node_modules"))
    return folder
