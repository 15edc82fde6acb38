"""What the code of services does not say about their deployment: the table `[deploy]`.

Everything has a default. docs/guide/deploying.md lists the keys.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from eventmesh.deployment.platforms import Ecs, Kubernetes, Swarm, Systemd
from eventmesh.model.broker import split_hosts
from eventmesh.model.duration import seconds
from eventmesh.model.errors import DeclarationError
from eventmesh.model.limits import parse_size
from eventmesh.model.settings import scheme_of

MAX_TASKS: Final = 5000
"""Tasks of one service: the most that Amazon ECS runs."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS: Final = re.compile(
    r"EVENTMESH_(BROKER(_FILE|_USERS)?|GRACE|STORE(_FILE)?|SECRETS(_[0-9]+)?)"
)
"""The variables that a deployment sets. Others, as EVENTMESH_STORE_KEEP, users set."""


def _duration(given: Any) -> float:
    try:
        return seconds(given, "it")
    except DeclarationError as error:
        raise ValueError(str(error)) from None


def _size(given: Any) -> int:
    try:
        return parse_size(given, "size")
    except DeclarationError as error:
        raise ValueError(str(error)) from None


Seconds: TypeAlias = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
Bytes: TypeAlias = Annotated[int, BeforeValidator(_size)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=MAX_TASKS)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
SecretName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?$")]
Tag: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
Registry: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.:/_-]*[a-z0-9]$|^$")]
Domain: TypeAlias = Annotated[
    str, Field(pattern=r"^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$|^$")
]


class Strict(BaseModel):
    """Refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskConfig(Strict):
    """What one service may take, and how many tasks of it run; None for what all have.

    `memory` is bytes, `latency`, `duration` and `calm` seconds. `store` is the name of the secret
    with the URL of its database. Without it `database` says whether it gets one in the PostgreSQL
    that the deployment brings along; None for: if its code needs one. `secrets` are the names of
    secrets of its own, which it gets as files.
    """

    cpus: Annotated[float | None, Field(gt=0, le=192)] = None
    memory: Annotated[Bytes | None, Field(ge=32 * 2**20)] = None
    count: Count | None = None
    minimum: Count | None = None
    maximum: Annotated[Count | None, Field(ge=1)] = None
    latency: Seconds | None = None
    duration: Seconds | None = None
    calm: Seconds | None = None
    egress: bool | None = None
    store: SecretName | None = None
    database: bool | None = None
    secrets: tuple[SecretName, ...] = ()
    environment: dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"environment: {name!r} is not the name of a variable")
            if _OURS.fullmatch(name):
                raise ValueError(f"environment: {name} follows from the deployment: leave it out")
        if self.store is not None and self.database:
            raise ValueError("database: its database is that of store: leave one of them out")
        return self

    def over(self, common: TaskConfig) -> TaskConfig:
        """Return it with what it does not say taken from `common`."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        merged = {name: getattr(common, name) for name in common.model_fields_set} | said
        merged["environment"] = {**common.environment, **self.environment}
        merged["secrets"] = tuple(dict.fromkeys((*common.secrets, *self.secrets)))
        # Only what has been validated is copied.
        return TaskConfig.model_construct(**merged)


class PostgresConfig(Strict):
    """What the PostgreSQL that a deployment brings along may take; `memory` is bytes."""

    cpus: Annotated[float, Field(gt=0, le=192)] = 2.0
    memory: Annotated[Bytes, Field(ge=256 * 2**20)] = 2**30


class RabbitmqConfig(Strict):
    """The RabbitMQ that a deployment brings along: `nodes` with that much each, sizes in bytes."""

    nodes: Annotated[int, Field(ge=1, le=9)] = 1
    cpus: Annotated[float, Field(gt=0, le=192)] = 2.0
    memory: Annotated[Bytes, Field(ge=256 * 2**20)] = 2**30
    storage: Annotated[Bytes, Field(ge=2**30)] = 10 * 2**30

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nodes % 2 == 0:
            raise ValueError(
                "nodes: an even number of nodes survives no more than one less: write 1, 3 or 5"
            )
        return self


class DeployConfig(TaskConfig):
    """The table `[deploy]`: its own keys, and beside them those of every service.

    `broker` is the URL of a RabbitMQ of yours, without a user, and `private_authority` says whether
    its certificate is signed by the authority in the secret "ca.pem".
    """

    name: Name | None = None
    registry: Registry = ""
    tag: Tag = "latest"
    domain: Domain = ""
    broker: str = ""
    private_authority: bool = False
    rabbitmq: RabbitmqConfig = RabbitmqConfig()
    postgres: PostgresConfig = PostgresConfig()
    gateway: TaskConfig = TaskConfig()
    services: dict[str, TaskConfig] = {}
    kubernetes: Kubernetes = Kubernetes()
    swarm: Swarm = Swarm()
    systemd: Systemd = Systemd()
    ecs: Ecs = Ecs()

    @model_validator(mode="after")
    def _check_broker(self) -> Self:
        if not self.broker:
            return self
        if scheme_of(self.broker) not in ("amqp", "amqps"):
            raise ValueError("broker: write amqps://HOST:PORT/VHOST")
        if "@" in self.broker or "?" in self.broker:
            raise ValueError(
                "broker: leave out user, password and options: each service gets a user of its "
                "own; write amqps://HOST:PORT/VHOST"
            )
        if len(split_hosts(self.broker)) > 1:
            raise ValueError(
                "broker: write one name, which stands for all nodes of a cluster: all addresses "
                "of it are used"
            )
        return self

    def task(self, service: str) -> TaskConfig:
        """Return what a service may take, with what all have."""
        return self.services.get(service, TaskConfig()).over(self._common)

    @property
    def door(self) -> TaskConfig:
        """What the gateway may take."""
        return self.gateway.over(self._common)

    @property
    def _common(self) -> TaskConfig:
        # Not those: what belongs to one service is not everyone's.
        common = self.model_fields_set & set(TaskConfig.model_fields)
        return TaskConfig.model_construct(**{name: getattr(self, name) for name in common})
