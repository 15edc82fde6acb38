import subprocess
import sys

import pytest
from click.testing import CliRunner

from eventmesh.cli.main import cli

FILES = {
    ".dockerignore",
    ".gitignore",
    "Dockerfile",
    "README.md",
    "__init__.py",
    "app.py",
    "pyproject.toml",
    "requirements.txt",
    "test_app.py",
}


@pytest.fixture
def new(project):
    return lambda *arguments: CliRunner().invoke(cli, ["new", *arguments], prog_name="eventmesh")


def test_what_is_written(new, project):
    result = new("shop")
    assert result.exit_code == 0
    assert {file.name for file in (project / "shop").iterdir()} == FILES
    assert result.stdout.endswith("Run it with: eventmesh dev shop\n")
    assert len((project / "shop" / "README.md").read_text().splitlines()) <= 11


def test_in_a_folder_of_another_name(new, project):
    assert new("shop", "--directory", "services/one").exit_code == 0
    assert 'Service("shop", calls=' in (project / "services/one/app.py").read_text()
    assert 'CMD ["run", "one"]' in (project / "services/one/Dockerfile").read_text()


@pytest.mark.parametrize("file", sorted(FILES))
def test_nothing_is_overwritten(new, write, project, file):
    write(f"shop/{file}", "mine")
    result = new("shop")
    assert result.exit_code == 2
    assert f"shop/{file} exists already, and nothing was written" in result.stderr
    assert [there.name for there in (project / "shop").iterdir()] == [file]
    assert (project / "shop" / file).read_text() == "mine"


def test_the_folder_is_a_package(new, project):
    assert new("my-shop").exit_code == 0
    assert 'Service("my-shop", calls=' in (project / "my_shop" / "app.py").read_text()


@pytest.mark.parametrize("folder", ["my-shop", "2shop", "my.shop"])
def test_a_folder_that_cannot_be_a_package(new, project, folder):
    result = new("shop", "--directory", folder)
    assert result.exit_code == 2
    assert f"the folder {folder!r} cannot be a Python package" in result.stderr
    assert "--directory" in result.stderr
    assert not list(project.iterdir())


def test_two_services_are_tested_in_one_run(new, project):
    for name in ("payhub", "risk"):
        assert new(name).exit_code == 0
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "payhub", "risk"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}"
    assert "2 passed" in ended.stdout


def test_a_name_that_no_service_can_have(new, project):
    result = new("my shop")
    assert result.exit_code == 2
    assert "a service cannot be called 'my shop'" in result.stderr
    assert not list(project.iterdir())
