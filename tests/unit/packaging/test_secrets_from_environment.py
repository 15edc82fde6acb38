"""Where secrets come as variables they become files, and eventmesh never sees the variables."""

import json
import os
import subprocess
import sys

import pytest

from eventmesh.packaging.secrets_from_environment import write_secret_files

GIVEN = {
    "PATH": "/bin",
    "EVENTMESH_SECRETS": "orders,ca.pem",
    "EVENTMESH_SECRETS_1": "pässword",
    "EVENTMESH_SECRETS_2": "-----BEGIN\nCERTIFICATE-----\n",
}


def test_each_secret_is_a_file_that_its_user_alone_can_read(tmp_path):
    (tmp_path / "orders").write_text("of an earlier start, and longer than the new one")
    assert write_secret_files(GIVEN, tmp_path) == {"PATH": "/bin"}
    assert (tmp_path / "orders").read_text(encoding="utf-8") == "pässword"
    assert (tmp_path / "ca.pem").read_text() == GIVEN["EVENTMESH_SECRETS_2"]
    for name in ("orders", "ca.pem"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["../orders", "..", "a/b", ""])
def test_names_lead_nowhere_else(tmp_path, name):
    given = {"EVENTMESH_SECRETS": f"{name},x", "EVENTMESH_SECRETS_1": "s3cret"}
    with pytest.raises(SystemExit, match="which is no name of a file") as refused:
        write_secret_files(given, tmp_path / "inner")
    assert "s3cret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_or_cannot_be_written_is_named_and_not_shown(tmp_path):
    missing = {**GIVEN, "EVENTMESH_SECRETS": "orders,ca.pem,stripe"}
    with pytest.raises(SystemExit, match="the secret 'stripe' is not there"):
        write_secret_files(missing, tmp_path)
    with pytest.raises(SystemExit, match="needs a tmpfs there") as refused:
        write_secret_files(GIVEN, tmp_path / "nowhere")
    assert "pässword" not in str(refused.value)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    linked = {"EVENTMESH_SECRETS": "link", "EVENTMESH_SECRETS_1": "s3cret"}
    with pytest.raises(SystemExit, match="'link' cannot be written"):
        write_secret_files(linked, tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_eventmesh_is_run_in_its_place(tmp_path):
    command = tmp_path / "eventmesh"
    command.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([os.getpid(), sys.argv[1:], sorted(os.environ)]))\n"
    )
    command.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "EVENTMESH_SECRETS": ""}
    started = subprocess.Popen(
        [sys.executable, "-m", "eventmesh.packaging.secrets_from_environment", "run", "orders"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    printed, _ = started.communicate(timeout=60)
    pid, arguments, names = json.loads(printed)
    # The same process: it gets the signals that the container gets.
    assert (pid, arguments) == (started.pid, ["run", "orders"])
    assert "EVENTMESH_SECRETS" not in names
