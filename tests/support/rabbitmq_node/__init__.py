"""RabbitMQ nodes that belong to the tests: started, shared, frozen and killed by them.

`new_node()` makes one from what the machine has: the server program of an installed package, run
under a node name, ports and folders of its own, or a container where EVENTMESH_TEST_IMAGE names an
image or nothing is installed. Nothing a node starts outlives the tests, even if those are killed.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from machine import quiet, run

from rabbitmq_node.container import ContainerNode
from rabbitmq_node.installed import InstalledNode
from rabbitmq_node.node import Node, PrivateNode

__all__ = [
    "IMAGE_VARIABLE",
    "ContainerNode",
    "InstalledNode",
    "Node",
    "PrivateNode",
    "find_or_install",
    "new_node",
]

IMAGE_VARIABLE = "EVENTMESH_TEST_IMAGE"

# Debian's own rabbitmq-server in the PATH is a wrapper that changes the user and the folders.
PROGRAMS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"))


def new_node() -> PrivateNode:
    """Make a node, which is not started yet."""
    found = os.environ.get(IMAGE_VARIABLE) or find_or_install()
    return InstalledNode(found) if isinstance(found, Path) else ContainerNode(found)


def find_or_install() -> Path | str:
    """Return the folder of the programs that are installed, or the image that there is."""
    # One at a time: all worker processes of the tests ask at once, and a package that is only half
    # installed has its programs already. Other packages too: apt-get does not wait for another one.
    with (Path(tempfile.gettempdir()) / "eventmesh-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs = installed_programs()
        if programs is not None:
            return programs
        if shutil.which("docker") and not subprocess.call(["docker", "info"], **quiet()):
            return "rabbitmq:4-management"
        if os.geteuid() == 0 and shutil.which("apt-get"):
            install_package()
            return installed_programs()
    raise RuntimeError(
        "there is no RabbitMQ to test with: install one (on Debian: apt-get install "
        "rabbitmq-server), or Docker, or say in EVENTMESH_TEST_BROKER where one is"
    )


def installed_programs() -> Path | None:
    found = shutil.which("rabbitmq-server")
    folders = (*PROGRAMS, *([Path(found).resolve().parent] if found else []))
    return next((folder for folder in folders if (folder / "rabbitmq-server").exists()), None)


def install_package() -> None:
    # As in single-user mode: the package would start a broker of its own otherwise.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "update", "-qq"], environment, 600)
    run(["apt-get", "install", "-y", "-qq", "rabbitmq-server"], environment, 600)
