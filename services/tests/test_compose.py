"""What compose.yaml says of the services is what they declare."""

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(file.parent for file in (ROOT / "services").glob("*/app.py"))


def times(document):
    """How long each service may take to end, and until it is killed."""
    services = {folder.name: document["services"][folder.name] for folder in FOLDERS}
    return {
        name: (service["environment"]["EVENTMESH_GRACE"], service["stop_grace_period"])
        for name, service in services.items()
    }


def test_what_runs_at_the_end_may_take_as_long_as_it_may_run():
    exported = subprocess.run(
        [sys.executable, "-m", "eventmesh", "export", "compose", *FOLDERS],
        cwd=ROOT,
        capture_output=True,
        timeout=100,
        check=True,
    )
    written = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert times(written) == times(yaml.safe_load(exported.stdout))
