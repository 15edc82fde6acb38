"""What Amazon ECS and CloudFormation refuse, found before they do.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html and
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from eventmesh.deployment.model import Deployment, TaskDefinition
from eventmesh.model.errors import SettingsError

MAX_CONTAINERS: Final = 10
MAX_DEFINITION: Final = 64 * 1024
"""Bytes of a task definition."""

MAX_STOP_TIMEOUT: Final = 120
"""Seconds from SIGTERM to SIGKILL, on Fargate."""

MAX_BODY: Final = 51_200
"""Bytes of a template that is sent as it is; a larger one is read from S3."""

MAX_TEMPLATE: Final = 1_000_000
MAX_RESOURCES: Final = 500
MAX_PARAMETERS: Final = 200
MAX_POLICIES: Final = 50
"""Scaling policies of one service, and so the queues by which it is scaled."""

_MAX_NAME: Final = 50
"""Characters of the name of a broker of Amazon MQ."""

_FAMILY: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")


def check_task(deployment: Deployment, task: TaskDefinition, launch_type: str) -> None:
    """Raise SettingsError for a task that cannot be started, or not as the model says."""
    if not deployment.registry:
        raise SettingsError(
            "Amazon ECS pulls images from a registry: set registry, such as "
            "registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop"
        )
    if launch_type == "FARGATE" and task.stop_timeout > MAX_STOP_TIMEOUT:
        raise SettingsError(
            f"{task.name}: what runs may take {task.grace} s to end, and Fargate kills a task "
            f"{MAX_STOP_TIMEOUT} s after SIGTERM: give its functions a timeout of at most "
            f"{MAX_STOP_TIMEOUT - task.stop_timeout + task.grace} s, or set ecs.launch_type=EC2"
        )
    family = f"{deployment.name}-{task.name}"
    if not _FAMILY.fullmatch(family):
        raise SettingsError(
            f"{family!r} cannot be the family of a task definition, which has at most 255 letters, "
            "digits, '-' and '_': rename the service"
        )


def check_name(deployment: Deployment) -> None:
    """Raise SettingsError for a name that Amazon MQ refuses."""
    if deployment.broker.own and len(deployment.name) > _MAX_NAME:
        raise SettingsError(
            f"the name {deployment.name!r} has {len(deployment.name)} characters, and Amazon MQ "
            f"takes {_MAX_NAME}: set name"
        )


def check_definition(name: str, definition: Mapping[str, Any]) -> None:
    """Raise SettingsError for a task definition that has too many containers, or is too long."""
    containers = len(definition["containerDefinitions"])
    if containers > MAX_CONTAINERS:
        raise SettingsError(
            f"{name}: {containers} containers are in one task definition, and Amazon ECS takes "
            f"{MAX_CONTAINERS}: deploy them as services of their own"
        )
    size = len(json.dumps(definition).encode())
    if size > MAX_DEFINITION:
        raise SettingsError(
            f"{name}: its task definition has {size:,} bytes, and Amazon ECS takes "
            f"{MAX_DEFINITION:,}: shorten its environment, or read what is long from elsewhere"
        )


def check_template(template: Mapping[str, Any], text: str) -> None:
    """Raise SettingsError for a template that is too long, or has too much in it."""
    found = {
        "bytes": (len(text.encode()), MAX_TEMPLATE),
        "resources": (len(template["Resources"]), MAX_RESOURCES),
        "parameters": (len(template["Parameters"]), MAX_PARAMETERS),
    }
    for what, (number, most) in found.items():
        if number > most:
            raise SettingsError(
                f"the template has {number:,} {what}, and CloudFormation takes {most:,}: export "
                "fewer services at once, each part with a name and a RabbitMQ of yours"
            )
