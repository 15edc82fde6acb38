"""Which clusters there are, and which one it is where nobody said."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias

from eventmesh.clusters.abc import Cluster
from eventmesh.clusters.compose import Compose
from eventmesh.clusters.docker_api import open_docker
from eventmesh.clusters.kubernetes import Kubernetes
from eventmesh.clusters.swarm import Swarm

Kind: TypeAlias = Literal["auto", "compose", "swarm", "kubernetes"]

_ACTIVE: Final = "active"


@asynccontextmanager
async def open_cluster(kind: Kind, project: str) -> AsyncGenerator[Cluster]:
    """Open a project of Compose, a stack of Swarm, or a namespace of Kubernetes.

    "auto" is Swarm where the engine is a manager of one that has the stack, Compose otherwise.
    Raises SettingsError, ClusterUnavailable and ClusterError.
    """
    if kind == "kubernetes":
        yield Kubernetes(project)
        return
    async with open_docker() as api:
        if kind == "swarm" or (kind == "auto" and await Swarm(api, project).exists()):
            yield Swarm(api, project)
            return
        async with Compose(api, project) as compose:
            yield compose
