"""What `eventmesh new` writes passes the tools that its users are likely to have."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from eventmesh.cli.main import cli


@pytest.mark.parametrize("name", ["shop", "_my-shop-"])
def test_it_passes_the_checks_and_its_test(project, name):
    assert CliRunner().invoke(cli, ["new", name, "--directory", "made"]).exit_code == 0
    for tool in (
        ("ruff", "check", "--select=ALL", "--ignore=CPY,D203,D213,S101"),
        ("ruff", "format", "--check"),
        ("mypy", "."),
        ("pytest", "-q"),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", *tool],
            cwd=project / "made",
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ended.returncode == 0, f"{tool}:\n{ended.stdout}{ended.stderr}"
