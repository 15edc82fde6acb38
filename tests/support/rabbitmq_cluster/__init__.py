"""Three nodes of RabbitMQ that run as one cluster and belong to the tests.

`new_cluster()` makes one from what the machine has, as `rabbitmq_node.new_node()` does. Nothing it
starts outlives the tests, even if those are killed.
"""

import os
from pathlib import Path

from rabbitmq_node import IMAGE_VARIABLE, find_or_install

from rabbitmq_cluster.cluster import SIZE, Cluster
from rabbitmq_cluster.containers import ContainerCluster
from rabbitmq_cluster.installed import InstalledCluster

__all__ = ["Cluster", "ContainerCluster", "InstalledCluster", "new_cluster"]


def new_cluster() -> Cluster:
    """Make a cluster, which is not started yet."""
    found = os.environ.get(IMAGE_VARIABLE) or find_or_install()
    if isinstance(found, Path):
        return InstalledCluster(found)
    return ContainerCluster([found] * SIZE)
