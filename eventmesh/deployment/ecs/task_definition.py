"""The task definition of a service, as `aws ecs register-task-definition` takes it.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eventmesh.deployment.ecs.limits import check_definition, check_task
from eventmesh.deployment.ecs.sizes import cpu_units, fargate_size, mebibytes
from eventmesh.deployment.model import (
    SECRETS_FOLDER,
    Deployment,
    HealthCheck,
    TaskDefinition,
)
from eventmesh.deployment.platforms import Ecs
from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value
from eventmesh.packaging import secrets_from_environment
from eventmesh.packaging.secrets_from_environment import NAMES, variable

_USER: Final = "10001:10001"
"""The user of the images."""


@value
class AccountValues:
    """What an account decides of one task: texts, or what CloudFormation puts in their place.

    `secrets` are ARNs by the names of the secrets. `task_role` is None for none.
    """

    region: Any
    execution_role: Any
    task_role: Any
    broker_url: Any
    secrets: Mapping[str, Any]


def family(deployment: Deployment, task: TaskDefinition) -> str:
    """Return the name of a task definition, without its revision."""
    return f"{deployment.name}-{task.name}"


def log_group(deployment: Deployment, task: TaskDefinition) -> str:
    """Return the name of the group of a task's logs."""
    return f"/eventmesh/{deployment.name}/{task.name}"


def build_task_definition(
    deployment: Deployment, task: TaskDefinition, ecs: Ecs, account: AccountValues
) -> dict[str, Any]:
    """Return the request that registers a task definition: one container, in a network of its own.

    Raises SettingsError for what Amazon ECS would refuse.
    """
    check_task(deployment, task, ecs.launch_type)
    fargate = ecs.launch_type == "FARGATE"
    units, memory = fargate_size(task) if fargate else (cpu_units(task), mebibytes(task))
    definition = {
        "family": family(deployment, task),
        "requiresCompatibilities": [ecs.launch_type],
        "networkMode": "awsvpc",
        "runtimePlatform": {
            "operatingSystemFamily": "LINUX",
            "cpuArchitecture": ecs.architecture,
        },
        "cpu": str(units),
        "memory": str(memory),
        "executionRoleArn": account.execution_role,
        **({"taskRoleArn": account.task_role} if account.task_role else {}),
        "containerDefinitions": [_container(deployment, task, account)],
    }
    check_definition(task.name, definition)
    return definition


def _container(
    deployment: Deployment, task: TaskDefinition, account: AccountValues
) -> dict[str, Any]:
    environment = {
        **deployment.environment(task),
        **_hosts(deployment, task),
        "EVENTMESH_BROKER": account.broker_url,
        NAMES: ",".join(each.name for each in task.secrets),
    }
    return {
        "name": task.name,
        "image": deployment.image(task),
        "essential": True,
        # Secrets come as variables here, and are files to all code.
        "entryPoint": ["python", "-m", secrets_from_environment.__name__],
        "command": list(task.command),
        "user": _USER,
        "cpu": cpu_units(task),
        "memory": mebibytes(task),
        **(
            {
                "portMappings": [
                    {"name": each.name, "containerPort": each.number, "protocol": "tcp"}
                    for each in task.ports
                ]
            }
            if task.ports
            else {}
        ),
        "environment": [{"name": name, "value": text} for name, text in environment.items()],
        "secrets": [
            {"name": variable(number), "valueFrom": account.secrets[each.name]}
            for number, each in enumerate(task.secrets, 1)
        ],
        **({"healthCheck": _health(task.health)} if task.health else {}),
        "stopTimeout": task.stop_timeout,
        "readonlyRootFilesystem": True,
        "linuxParameters": {
            "capabilities": {"drop": ["ALL"]},
            "tmpfs": [
                {"containerPath": "/tmp", "size": 64},  # noqa: S108 - in the memory of the task
                {"containerPath": SECRETS_FOLDER, "size": 1},
            ],
        },
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": log_group(deployment, task),
                "awslogs-region": account.region,
                "awslogs-stream-prefix": task.name,
            },
        },
    }


def _hosts(deployment: Deployment, task: TaskDefinition) -> dict[str, str]:
    gateway = deployment.gateway
    if gateway is None or gateway.task != task or not gateway.hosts:
        return {}
    return {"EVENTMESH_ALLOWED_HOSTS": ",".join(gateway.hosts)}


def _health(health: HealthCheck) -> dict[str, Any]:
    return {
        "command": ["CMD", *health.command],
        "interval": health.interval,
        "timeout": health.timeout,
        "retries": health.retries,
        "startPeriod": health.start_period,
    }


def build_task_definitions(deployment: Deployment, ecs: Ecs) -> dict[str, dict[str, Any]]:
    """Return all task definitions by the names of their files, with what the account decides.

    Raises SettingsError, which lists what the table [deploy.ecs] would have to say, and for what
    Amazon ECS would refuse.
    """
    if deployment.broker.own:
        raise SettingsError(
            "task definitions name the address of RabbitMQ: set broker, such as "
            "broker=amqps://mq.example/shop; the template brings one along"
        )
    names = [each.name for each in deployment.secrets if each.name not in ecs.secrets]
    missing = [
        *(["ecs.region"] if ecs.region is None else []),
        *(["ecs.execution_role"] if ecs.execution_role is None else []),
        *([f"ecs.secrets with {', '.join(names)}"] if names else []),
    ]
    if missing:
        raise SettingsError(
            f"task definitions have values of your account: set {', '.join(missing)}"
        )
    return {
        f"{family(deployment, task)}.json": build_task_definition(
            deployment,
            task,
            ecs,
            AccountValues(
                ecs.region,
                ecs.execution_role,
                ecs.task_role,
                deployment.environment(task)["EVENTMESH_BROKER"],
                ecs.secrets,
            ),
        )
        for task in deployment.tasks
    }
