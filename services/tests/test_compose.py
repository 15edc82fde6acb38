"""What compose.yaml says of the services is what they declare, and what `export compose` writes."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(file.parent for file in (ROOT / "services").glob("*/app.py"))
OURS = [*(folder.name for folder in FOLDERS), "gateway", "operator"]


@pytest.fixture(scope="module")
def written():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def exported():
    ended = subprocess.run(
        [sys.executable, "-m", "eventmesh", "export", "compose", *FOLDERS],
        cwd=ROOT,
        capture_output=True,
        timeout=600,
        check=True,
    )
    return yaml.safe_load(ended.stdout)


def times(document):
    """How long each service may take to end, and until it is killed."""
    services = {folder.name: document["services"][folder.name] for folder in FOLDERS}
    return {
        name: (service["environment"]["EVENTMESH_GRACE"], service["stop_grace_period"])
        for name, service in services.items()
    }


def test_what_runs_at_the_end_may_take_as_long_as_it_may_run(written, exported):
    assert times(written) == times(exported)


def access(document, name):
    """As whom a container logs in to the broker, and what it is given for that."""
    service = document["services"][name]
    environment = {
        variable: text
        for variable, text in service["environment"].items()
        if variable.startswith("EVENTMESH_")
        and variable not in ("EVENTMESH_GRACE", "EVENTMESH_DOCS")
    }
    return environment, service["secrets"], service.get("profiles"), service.get("restart")


@pytest.mark.parametrize("name", OURS)
def test_each_container_has_a_user_of_its_own(written, exported, name):
    assert access(written, name) == access(exported, name)


def test_the_secrets_and_servers_are_those_of_an_export(written, exported):
    assert written["secrets"] == exported["secrets"]
    for server in ("rabbitmq", "postgres"):
        assert written["services"][server] == exported["services"][server]
    assert written["configs"].keys() == exported["configs"].keys()


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_service_waits_for_the_servers_that_it_needs(written, exported, folder):
    name = folder.name
    assert written["services"][name]["depends_on"] == exported["services"][name]["depends_on"]
