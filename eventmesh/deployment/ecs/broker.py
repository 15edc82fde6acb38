"""RabbitMQ on Amazon MQ.

https://docs.aws.amazon.com/amazon-mq/latest/developer-guide/rabbitmq-version-management.html and
https://docs.aws.amazon.com/amazon-mq/latest/developer-guide/rabbitmq-simple-auth-broker-users.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from eventmesh.deployment.ecs.cloudformation import KEPT, Resource, get_att, ref, resource, sub
from eventmesh.deployment.ecs.network import BROKER_GROUP, group_id
from eventmesh.deployment.ecs.parameters import SUBNETS
from eventmesh.deployment.model import BrokerDeployment, Deployment, TaskDefinition
from eventmesh.deployment.platforms import Ecs
from eventmesh.model.errors import SettingsError

BROKER: Final = "Broker"
ADMINISTRATOR: Final = "BrokerAdministrator"

_MODES: Final = {1: "SINGLE_INSTANCE", 3: "CLUSTER_MULTI_AZ"}

_INSTANCES: Final[Mapping[str, tuple[int, int]]] = {
    "mq.m7g.medium": (1, 4),
    "mq.m7g.large": (2, 8),
    "mq.m7g.xlarge": (4, 16),
    "mq.m7g.2xl": (8, 32),
    "mq.m7g.4xl": (16, 64),
    "mq.m7g.8xl": (32, 128),
    "mq.m7g.12xl": (48, 192),
    "mq.m7g.16xl": (64, 256),
}
"""Cores and GiB of memory of each: the kind that runs RabbitMQ 3.13 as well as 4."""


def broker(deployment: Deployment, ecs: Ecs) -> Iterator[tuple[str, Resource]]:
    """Yield the broker and its administrator, whose password AWS makes and nobody is shown.

    Raises SettingsError for a number or a size of nodes that Amazon MQ has not.
    """
    wanted = deployment.broker
    if wanted.nodes not in _MODES:
        raise SettingsError(
            f"deploy.rabbitmq.nodes={wanted.nodes}: Amazon MQ has 1 node, or a cluster of 3"
        )
    subnets = ref(SUBNETS) if wanted.nodes > 1 else [{"Fn::Select": [0, ref(SUBNETS)]}]
    password = sub(f"{{{{resolve:secretsmanager:${{{ADMINISTRATOR}}}:SecretString:password}}}}")
    yield (
        ADMINISTRATOR,
        resource(
            "SecretsManager::Secret",
            {
                "Description": f"The administrator of the RabbitMQ of {deployment.name}",
                "GenerateSecretString": {
                    "SecretStringTemplate": '{"username": "administrator"}',
                    "GenerateStringKey": "password",
                    "PasswordLength": 32,
                    # Amazon MQ takes no commas, colons and equals signs.
                    "ExcludePunctuation": True,
                },
            },
            **KEPT,
        ),
    )
    yield (
        BROKER,
        resource(
            "AmazonMQ::Broker",
            {
                "BrokerName": deployment.name,
                "EngineType": "RABBITMQ",
                "EngineVersion": ecs.rabbitmq_version,
                # Amazon MQ asks for it from 3.13 on; it changes the patch version alone.
                "AutoMinorVersionUpgrade": True,
                "DeploymentMode": _MODES[wanted.nodes],
                "HostInstanceType": _instance(wanted),
                "PubliclyAccessible": False,
                "SubnetIds": subnets,
                "SecurityGroups": [group_id(BROKER_GROUP)],
                "Logs": {"General": True},
                "Users": [{"Username": "administrator", "Password": password}],
            },
            # Its queues hold what was accepted.
            **KEPT,
        ),
    )


def _instance(wanted: BrokerDeployment) -> str:
    for name, (cores, memory) in _INSTANCES.items():
        if cores >= wanted.cpus and memory * 2**30 >= wanted.memory:
            return name
    raise SettingsError(
        f"deploy.rabbitmq: cpus={wanted.cpus:g} and memory={wanted.memory / 2**30:g}G are more "
        "than an instance of Amazon MQ has: make it smaller, or use a RabbitMQ of yours"
    )


def broker_url(deployment: Deployment, task: TaskDefinition) -> Any:
    """Return the URL by which a task reaches RabbitMQ: a text, or one with the broker's address.

    Amazon MQ tells its address as amqps://HOST:5671.
    """
    if not deployment.broker.own:
        return deployment.environment(task)["EVENTMESH_BROKER"]
    endpoint = {"Fn::Select": [0, get_att(BROKER, "AmqpEndpoints")]}
    place = {"Fn::Select": [0, {"Fn::Split": [f":{deployment.broker.port}", endpoint]}]}
    host = {"Fn::Select": [1, {"Fn::Split": ["//", place]}]}
    return sub(deployment.broker.url(task.user, host="${BrokerHost}"), BrokerHost=host)
