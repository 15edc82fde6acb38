"""A service of Amazon ECS: how many tasks run, how they are replaced, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eventmesh.deployment.ecs.broker import broker_url
from eventmesh.deployment.ecs.cloudformation import (
    REGION,
    Resource,
    get_att,
    logical_id,
    properties,
    ref,
    resource,
    when,
)
from eventmesh.deployment.ecs.door import LISTENER, TARGETS
from eventmesh.deployment.ecs.network import group_id, group_name
from eventmesh.deployment.ecs.parameters import PUBLIC_IP, RUNNING, SUBNETS, secret_parameter
from eventmesh.deployment.ecs.task_definition import AccountValues, build_task_definition
from eventmesh.deployment.kubernetes.names import object_name
from eventmesh.deployment.model import (
    HTTP,
    Deployment,
    HealthCheck,
    ServiceDeployment,
    TaskDefinition,
)
from eventmesh.deployment.platforms import Ecs

NAMESPACE: Final = "Namespace"
_TTL: Final = 10
"""Seconds for which a name may be kept."""


def namespace(deployment: Deployment, ecs: Ecs) -> str:
    """Return the private domain in which services have names."""
    return ecs.namespace or f"{deployment.name}.internal"


def task_resource(
    deployment: Deployment, task: TaskDefinition, ecs: Ecs
) -> Iterator[tuple[str, Resource]]:
    """Yield a task definition. Raises SettingsError for what Amazon ECS would refuse."""
    name = logical_id(task.name)
    account = AccountValues(
        REGION,
        get_att(f"{name}ExecutionRole", "Arn"),
        get_att(f"{name}TaskRole", "Arn"),
        broker_url(deployment, task),
        {each.name: ref(secret_parameter(each.name)) for each in task.secrets},
    )
    definition = build_task_definition(deployment, task, ecs, account)
    yield f"{name}Task", resource("ECS::TaskDefinition", properties(definition))


def service_resources(
    deployment: Deployment, service: ServiceDeployment, ecs: Ecs, cluster: Any
) -> Iterator[tuple[str, Resource]]:
    """Yield a service and its name in Cloud Map."""
    name = logical_id(service.name)
    yield (
        f"{name}Name",
        resource(
            "ServiceDiscovery::Service",
            {
                "Name": object_name(service.name),
                "DnsConfig": {
                    "NamespaceId": ref(NAMESPACE),
                    "RoutingPolicy": "MULTIVALUE",
                    "DnsRecords": [{"Type": "A", "TTL": _TTL}],
                },
            },
        ),
    )
    request = build_service(deployment, service, ecs, cluster)
    depends = {"DependsOn": [LISTENER]} if service.public else {}
    yield f"{name}Service", resource("ECS::Service", properties(request), **depends)


def build_service(
    deployment: Deployment, service: ServiceDeployment, ecs: Ecs, cluster: Any
) -> dict[str, Any]:
    """Return the request that creates a service, with what CloudFormation puts in.

    New tasks start before old ones end, and a version whose tasks do not start is taken back.
    """
    name = logical_id(service.name)
    # Nothing starts the first task, and one without its user at RabbitMQ looks like a bad version.
    count: Any = service.count if service.scaling.is_fixed else max(service.count, 1)
    if deployment.broker.own:
        count = when(RUNNING, count, 0)
    fargate = ecs.launch_type == "FARGATE"
    return {
        "serviceName": f"{deployment.name}-{service.name}",
        "cluster": cluster,
        "taskDefinition": ref(f"{name}Task"),
        "launchType": ecs.launch_type,
        "desiredCount": count,
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
        },
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ref(SUBNETS),
                "securityGroups": [group_id(group_name(service.task))],
                **({"assignPublicIp": ref(PUBLIC_IP)} if fargate else {}),
            }
        },
        "serviceRegistries": [{"registryArn": get_att(f"{name}Name", "Arn")}],
        **(_balanced(service) if service.public else {}),
        **({} if fargate else {"placementStrategy": _SPREAD}),
    }


_SPREAD: Final = [
    {"type": "spread", "field": "attribute:ecs.availability-zone"},
    {"type": "spread", "field": "instanceId"},
]


def _balanced(service: ServiceDeployment) -> dict[str, Any]:
    task = service.task
    return {
        "loadBalancers": [
            {
                "targetGroupArn": ref(TARGETS),
                "containerName": task.name,
                "containerPort": task.port(HTTP),
            }
        ],
        "healthCheckGracePeriodSeconds": (task.health or HealthCheck()).start_period,
    }
