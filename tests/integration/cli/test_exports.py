"""What the exports write is taken by the programs that will read it."""

import os
import shutil
import subprocess

import pytest
import yaml
from machine import run as run_program

SHOP = """
from eventmesh import Service, on

orders = Service("orders", calls=[], emits=[])

@orders.function(on.post("/orders"), timeout=60)
async def place() -> None: ...
"""
INSTALL_SECONDS = 600
PACKAGES = {"kubectl": "kubernetes-client", "systemd-analyze": "systemd"}


@pytest.fixture
def program(tmp_path):
    """Run a program that is installed, or that Debian's package brings where we are root."""

    def program(name, *arguments):
        if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get"):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            run_program(["apt-get", "update", "-qq"], environment, INSTALL_SECONDS)
            install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
            run_program([*install, PACKAGES[name]], environment, INSTALL_SECONDS)
        if shutil.which(name) is None:
            pytest.fail(f"there is no {name}: install it (on Debian: {PACKAGES[name]})")
        return subprocess.run(
            [name, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return program


@pytest.fixture
async def export(run, tmp_path):
    async def export(kind, *arguments):
        (tmp_path / "orders").mkdir()
        (tmp_path / "orders/app.py").write_text(SHOP)
        ended = await run("export", kind, "orders", *arguments)
        assert ended.code == 0, ended.err

    return export


async def test_systemd_takes_the_units(export, program, tmp_path):
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/eventmesh").write_text("#!/bin/sh\n")
    (tmp_path / "venv/bin/eventmesh").chmod(0o755)
    settings = ("--set", "broker=amqps://mq.example", "--set", "name=shop")
    await export("systemd", *settings, "--output", "units")
    text = (tmp_path / "units/shop-orders@.service").read_text()
    (tmp_path / "shop-orders@1.service").write_text(text.replace("/opt/shop", str(tmp_path)))
    verified = program("systemd-analyze", "verify", str(tmp_path / "shop-orders@1.service"))
    assert (verified.returncode, verified.stderr) == (0, "")


async def test_kustomize_takes_the_manifests(export, program):
    settings = ("name=shop", "registry=images.example", "domain=shop.example")
    given = [word for each in settings for word in ("--set", each)]
    await export("kubernetes", *given, "--output", "k8s")
    built = program("kubectl", "kustomize", "k8s")
    assert (built.returncode, built.stderr) == (0, "")
    found = list(yaml.safe_load_all(built.stdout))
    for each in found:
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "shop"
    made = {each["metadata"]["name"] for each in found if each["kind"] == "Secret"}
    pods = [each["spec"]["template"]["spec"] for each in found if each["kind"] == "Deployment"]
    assert len(pods) > 1
    for pod in pods:
        (sources,) = (
            each["projected"]["sources"] for each in pod["volumes"] if "projected" in each
        )
        assert {each["secret"]["name"] for each in sources} <= made
