"""What the account decides: the parameters of the template, with the defaults of [deploy.ecs]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from eventmesh.deployment.ecs.cloudformation import logical_id
from eventmesh.deployment.model import Deployment
from eventmesh.deployment.platforms import Ecs

VPC: Final = "Vpc"
SUBNETS: Final = "Subnets"
DOOR_SUBNETS: Final = "DoorSubnets"
DOOR_CIDR: Final = "DoorCidr"
CERTIFICATE: Final = "Certificate"
CLUSTER: Final = "ClusterName"
PUBLIC_IP: Final = "PublicIp"
BROKER_CIDR: Final = "BrokerCidr"
ENDPOINTS_GROUP: Final = "EndpointsGroup"
S3_PREFIXES: Final = "S3PrefixList"
KEY: Final = "SecretsKey"
RUN: Final = "Run"

RUNNING: Final = "Running"
"""The condition under which tasks run: RabbitMQ has its users."""

_CIDR: Final = r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$"


def secret_parameter(name: str) -> str:
    """Return the parameter with the ARN of a secret."""
    return f"{logical_id(name)}Secret"


def parameters(deployment: Deployment, ecs: Ecs) -> dict[str, dict[str, Any]]:
    """Return the parameters of a template; what [deploy.ecs] says is a default."""
    subnets = "List<AWS::EC2::Subnet::Id>"
    found = {
        VPC: _parameter("AWS::EC2::VPC::Id", "The VPC of everything", ecs.vpc),
        SUBNETS: _parameter(
            subnets, "Subnets of the tasks and of RabbitMQ, in several zones", ecs.subnets
        ),
    }
    if ecs.launch_type == "FARGATE":
        found[PUBLIC_IP] = _parameter(
            "String",
            "Whether tasks have public addresses, for subnets without a NAT",
            "ENABLED" if ecs.public_ip else "DISABLED",
            AllowedValues=["ENABLED", "DISABLED"],
        )
    if deployment.gateway is not None:
        found |= {
            DOOR_SUBNETS: _parameter(
                subnets, "Public subnets of the load balancer, in two zones", ecs.door_subnets
            ),
            DOOR_CIDR: _parameter(
                "String",
                "Who may reach the load balancer",
                ecs.door_cidr or "0.0.0.0/0",
                AllowedPattern=_CIDR,
            ),
            CERTIFICATE: _parameter(
                "String",
                "The ARN of the load balancer's certificate in ACM",
                ecs.certificate,
                AllowedPattern="^arn:aws[a-z-]*:acm:.+$",
            ),
        }
    if ecs.cluster is not None or ecs.launch_type == "EC2":
        found[CLUSTER] = _parameter("String", "The cluster that tasks run on", ecs.cluster)
    return {**found, **_broker(deployment, ecs), **_closed(deployment), **_secrets(deployment, ecs)}


def _broker(deployment: Deployment, ecs: Ecs) -> dict[str, dict[str, Any]]:
    if deployment.broker.own:
        return {
            RUN: _parameter(
                "String",
                "Whether tasks run: no until RabbitMQ has its users",
                "no",
                AllowedValues=["no", "yes"],
            )
        }
    return {
        BROKER_CIDR: _parameter(
            "String", "The addresses of RabbitMQ", ecs.broker_cidr, AllowedPattern=_CIDR
        )
    }


def _closed(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """What a task without a way out needs to start: the VPC's own ways to AWS."""
    if all(task.egress for task in deployment.tasks):
        return {}
    return {
        ENDPOINTS_GROUP: _parameter(
            "AWS::EC2::SecurityGroup::Id",
            "The security group of the VPC endpoints of ECR, Secrets Manager and CloudWatch Logs",
        ),
        S3_PREFIXES: _parameter(
            "String",
            "The prefix list of the VPC endpoint of S3, where ECR keeps images",
            AllowedPattern="^pl-[0-9a-f]+$",
        ),
    }


def _secrets(deployment: Deployment, ecs: Ecs) -> dict[str, dict[str, Any]]:
    found = {
        secret_parameter(each.name): _parameter(
            "String",
            f"The ARN of the secret {each.name!r} in Secrets Manager",
            ecs.secrets.get(each.name),
            AllowedPattern="^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+$",
        )
        for each in deployment.secrets
    }
    if ecs.secrets_key is not None:
        found[KEY] = _parameter("String", "The key that encrypts the secrets", ecs.secrets_key)
    return found


def _parameter(
    kind: str, description: str, default: str | Sequence[str] | None = None, **more: Any
) -> dict[str, Any]:
    text = default if default is None or isinstance(default, str) else ",".join(default)
    return {
        "Type": kind,
        "Description": description,
        **({"Default": text} if text else {}),
        **more,
    }
