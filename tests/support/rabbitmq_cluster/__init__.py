"""Three nodes of RabbitMQ that run as one cluster and belong to the tests.

`new_cluster()` makes one from what the machine has, as `rabbitmq_node.new_node()` does. Nothing it
starts outlives the tests, even if those are killed.
"""

from rabbitmq_node import find_or_install

from rabbitmq_cluster.cluster import Cluster
from rabbitmq_cluster.installed import InstalledCluster

__all__ = ["Cluster", "InstalledCluster", "new_cluster"]


def new_cluster() -> Cluster:
    """Make a cluster, which is not started yet."""
    return InstalledCluster(find_or_install())
