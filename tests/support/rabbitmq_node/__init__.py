"""RabbitMQ nodes that belong to the tests: started, shared, frozen and killed by them.

`new_node()` makes one from what the machine has: the server program of an installed package, run
under a node name, ports and folders of its own, or a container where EVENTMESH_TEST_IMAGE names an
image or nothing is installed. Nothing a node starts outlives the tests, even if those are killed.
"""

import os
import shutil
from pathlib import Path

import packages

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
IMAGE = "rabbitmq:4-management"
ADVICE = (
    "there is no RabbitMQ to test with: install one (on Debian: apt-get install rabbitmq-server), "
    "or Docker, or say in EVENTMESH_TEST_BROKER where one is"
)

# Debian's own rabbitmq-server in the PATH is a wrapper that changes the user and the folders.
PROGRAMS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"))


def new_node() -> PrivateNode:
    """Make a node, which is not started yet."""
    found = os.environ.get(IMAGE_VARIABLE) or find_or_install()
    return InstalledNode(found) if isinstance(found, Path) else ContainerNode(found)


def find_or_install() -> Path | str:
    """Return the folder of the programs that are installed, or the image that there is."""
    return packages.find_or_install(installed_programs, "rabbitmq-server", ADVICE, image=IMAGE)


def installed_programs() -> Path | None:
    found = shutil.which("rabbitmq-server")
    folders = (*PROGRAMS, *([Path(found).resolve().parent] if found else []))
    return next((folder for folder in folders if (folder / "rabbitmq-server").exists()), None)
