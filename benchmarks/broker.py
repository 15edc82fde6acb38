"""The brokers of a run: private ones, unless the environment names others."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from typing import Any, Final

from benchmarks.processes import ROOT

BROKER: Final = "EVENTMESH_BENCH_BROKER"
AMQP1: Final = "EVENTMESH_BENCH_AMQP1"
CLUSTER: Final = "EVENTMESH_BENCH_CLUSTER"
AMQP1_IMAGE: Final = "rabbitmq:4-management"


@contextmanager
def brokers() -> Generator[tuple[str, str | None, Callable[[], str]]]:
    """The URL of the broker that all share, and of a RabbitMQ 4 where there is one.

    The last one starts a cluster when it is first called, and returns its URL.
    """
    # The tests know how to run a node of their own.
    sys.path.append(str(ROOT / "tests" / "support"))
    rabbitmq_node = import_module("rabbitmq_node")

    with ExitStack() as stack:
        url = os.environ.get(BROKER) or _started(stack, rabbitmq_node.new_node())
        cluster = cache(lambda: os.environ.get(CLUSTER) or _cluster(stack))
        yield url, os.environ.get(AMQP1) or _amqp1(stack, rabbitmq_node), cluster


def _cluster(stack: ExitStack) -> str:
    cluster = import_module("rabbitmq_cluster").new_cluster()
    stack.callback(cluster.remove)
    asyncio.run(cluster.launch())
    hosts = ",".join(f"{host}:{port}" for host, port in cluster.addresses())
    return f"amqp://guest:guest@{hosts}/"


def _amqp1(stack: ExitStack, nodes: Any) -> str | None:
    if shutil.which("docker") is None:
        return None
    # An image that is not there is not fetched for one peer's sake.
    found = subprocess.run(
        ["docker", "image", "inspect", AMQP1_IMAGE], capture_output=True, check=False
    )
    return None if found.returncode else _started(stack, nodes.ContainerNode(AMQP1_IMAGE))


def _started(stack: ExitStack, node: Any) -> str:
    stack.callback(node.remove)
    node.launch()
    return str(node.url)
