"""What only one platform asks for: the tables `[deploy.kubernetes]` and so on."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_STRICT = ConfigDict(extra="forbid", frozen=True)

DnsLabel: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class Kubernetes(BaseModel):
    """Kubernetes: where it goes, how it is scaled, and by what it is reached.

    `broker_namespace` is that of a RabbitMQ of yours in the same cluster. `ingress` "none" leaves
    the door to you; `ingress_class` is that of an Ingress, `parent` the Gateway of a route as
    "NAMESPACE/NAME". `door_namespace` is that of the ingress controller, and `monitoring_namespace`
    that of Prometheus.
    """

    model_config = _STRICT

    namespace: DnsLabel | None = None
    autoscaler: Literal["keda", "hpa", "none"] = "keda"
    ingress: Literal["ingress", "gateway", "none"] = "ingress"
    ingress_class: DnsLabel | None = None
    parent: Annotated[str, Field(pattern=r"^([a-z0-9-]+/)?[a-z0-9-]+$")] = "gateway"
    tls_secret: DnsLabel | None = None
    door_namespace: DnsLabel = "ingress-nginx"
    monitoring_namespace: DnsLabel = "monitoring"
    broker_namespace: DnsLabel | None = None
    storage_class: DnsLabel | None = None
    pull_secret: DnsLabel | None = None


class Swarm(BaseModel):
    """Docker Swarm: the nodes with the data of RabbitMQ and PostgreSQL, and the published port."""

    model_config = _STRICT

    broker_constraint: str = "node.labels.rabbitmq == true"
    database_constraint: str = "node.labels.postgres == true"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080


class Systemd(BaseModel):
    """Machines with systemd: where the code and its virtual environment are, and the secrets."""

    model_config = _STRICT

    folder: Annotated[str, Field(pattern=r"^/[\w./-]*$")] = "/opt"
    secrets: Annotated[str, Field(pattern=r"^/[\w./-]*$")] = "/etc/eventmesh"


_PARTITION: Final = r"^arn:aws[a-z-]*:"
_REGION: Final = r"[a-z]{2}(-[a-z]+)+-\d"
Arn: TypeAlias = Annotated[
    str, Field(pattern=_PARTITION + r"[a-z0-9-]+:[a-z0-9-]*:(\d{12}|aws)?:.+$")
]
RoleArn: TypeAlias = Annotated[
    str, Field(pattern=_PARTITION + r"iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+$")
]
PolicyArn: TypeAlias = Annotated[
    str, Field(pattern=_PARTITION + r"iam::(\d{12}|aws):policy/[A-Za-z0-9_+=,.@/-]+$")
]
SecretArn: TypeAlias = Annotated[
    str,
    Field(pattern=_PARTITION + rf"secretsmanager:{_REGION}:\d{{12}}:secret:[A-Za-z0-9_/+=.@-]+$"),
]
SubnetId: TypeAlias = Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]
Cidr: TypeAlias = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$")]

# A number where TOML reads one.
Version: TypeAlias = Annotated[Literal["3.13", "4.2", "4.3"], BeforeValidator(str)]


class Ecs(BaseModel):
    """Amazon ECS: what the account decides. In a template all of it is a default of a parameter.

    `launch_type` EC2 needs a `cluster` of yours that has container instances; without a `cluster`
    the template brings one. `subnets` are those of tasks and of the broker, `door_subnets` those of
    the load balancer, whose `certificate` is one of ACM. `secrets` are the ARNs of secrets of
    Secrets Manager by the names that they have here, `secrets_key` that of the key of yours that
    encrypts them. `execution_role` and `task_role` are for task definitions that are registered
    without the template; `policies` are the ARNs of what the code of a service may do at AWS.
    `rabbitmq_version` is that of Amazon MQ. `backlog_namespace` is where CloudWatch has the lengths
    of queues if Amazon MQ does not publish them.
    """

    model_config = _STRICT

    launch_type: Literal["FARGATE", "EC2"] = "FARGATE"
    architecture: Literal["X86_64", "ARM64"] = "X86_64"
    cluster: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")] = None
    region: Annotated[str | None, Field(pattern=f"^{_REGION}$")] = None
    vpc: Annotated[str | None, Field(pattern=r"^vpc-[0-9a-f]{8,17}$")] = None
    subnets: tuple[SubnetId, ...] = ()
    door_subnets: tuple[SubnetId, ...] = ()
    door_cidr: Cidr | None = None
    broker_cidr: Cidr | None = None
    public_ip: bool = False
    certificate: Arn | None = None
    execution_role: RoleArn | None = None
    task_role: RoleArn | None = None
    policies: dict[str, tuple[PolicyArn, ...]] = {}
    secrets: dict[str, SecretArn] = {}
    secrets_key: Arn | None = None
    rabbitmq_version: Version = "3.13"
    backlog_namespace: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_./#:-]{1,255}$")] = None
    namespace: Annotated[
        str | None, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", max_length=253)
    ] = None
    log_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 180, 365] = 30
