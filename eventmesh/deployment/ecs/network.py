"""Security groups: the connections that the model allows, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eventmesh.deployment.ecs.cloudformation import (
    KEPT,
    Resource,
    get_att,
    logical_id,
    ref,
    resource,
)
from eventmesh.deployment.ecs.parameters import (
    BROKER_CIDR,
    DOOR_CIDR,
    ENDPOINTS_GROUP,
    S3_PREFIXES,
    VPC,
)
from eventmesh.deployment.model import (
    ADMIN,
    HTTP,
    MONITORING,
    OUTSIDE,
    Connection,
    Deployment,
    TaskDefinition,
)
from eventmesh.packaging.broker_export import OPERATOR

DOOR_GROUP: Final = "DoorGroup"
BROKER_GROUP: Final = "BrokerGroup"
MONITORING_GROUP: Final = "MonitoringGroup"
MANAGEMENT_PORT: Final = 443
"""The port of RabbitMQ's management API on Amazon MQ."""

_HTTPS: Final = 443
_NOWHERE: Final = {
    "CidrIp": "127.0.0.1/32",
    "IpProtocol": "-1",
    "Description": "Nowhere: a group without a rule would reach everything",
}


def group_name(task: TaskDefinition) -> str:
    """Return the name of a task's security group in the template."""
    return f"{logical_id(task.name)}Group"


def group_id(name: str) -> dict[str, Any]:
    """Return the id of a security group of the template."""
    return get_att(name, "GroupId")


def security_groups(deployment: Deployment) -> Iterator[tuple[str, Resource]]:
    """Yield a group for each task, for the load balancer, RabbitMQ and monitoring."""
    tasks = {task.name: task for task in deployment.tasks}
    yield MONITORING_GROUP, _group("Who asks tasks for metrics and health", None)
    if deployment.broker.own:
        # It is in use as long as the broker, which stays when the stack goes.
        yield BROKER_GROUP, _group("RabbitMQ", [_NOWHERE]) | KEPT
    for task in deployment.tasks:
        yield group_name(task), _group(f"Tasks of {task.name}", list(_egress(deployment, task)))
    for connection in deployment.connections():
        yield from _ingress(deployment, connection, tasks)
    if deployment.broker.own and OPERATOR in tasks:
        # Whoever loads the users of RabbitMQ does so from a machine in the operator's group.
        yield (
            "BrokerManagementIngress",
            _rule(BROKER_GROUP, group_name(tasks[OPERATOR]), MANAGEMENT_PORT),
        )


def _group(description: str, egress: list[dict[str, Any]] | None) -> Resource:
    rules = {} if egress is None else {"SecurityGroupEgress": egress}
    return resource(
        "EC2::SecurityGroup", {"GroupDescription": description, "VpcId": ref(VPC), **rules}
    )


def _rule(group: str, source: str, port: int) -> Resource:
    return resource(
        "EC2::SecurityGroupIngress",
        {
            "GroupId": group_id(group),
            "SourceSecurityGroupId": group_id(source),
            **_tcp(port),
        },
    )


def _tcp(port: int) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}


def _ingress(
    deployment: Deployment, connection: Connection, tasks: dict[str, TaskDefinition]
) -> Iterator[tuple[str, Resource]]:
    """Yield the rules by which a connection gets in; what is outside has its own."""
    if connection.destination == OUTSIDE:
        return
    if connection.destination == deployment.broker.host:
        if deployment.broker.own:
            name = logical_id(connection.source)
            group = group_name(tasks[connection.source])
            yield f"Broker{name}Ingress", _rule(BROKER_GROUP, group, connection.port)
        return
    name = logical_id(connection.destination)
    group = group_name(tasks[connection.destination])
    if connection.source == MONITORING:
        yield f"{name}MonitoringIngress", _rule(group, MONITORING_GROUP, connection.port)
        return
    # The load balancer also asks whether a task is ready.
    task = tasks[connection.destination]
    ports = {HTTP: connection.port, ADMIN: task.port(ADMIN)}
    yield (
        DOOR_GROUP,
        resource(
            "EC2::SecurityGroup",
            {
                "GroupDescription": "The load balancer",
                "VpcId": ref(VPC),
                "SecurityGroupIngress": [
                    {"CidrIp": ref(DOOR_CIDR), **_tcp(port)} for port in (80, _HTTPS)
                ],
                "SecurityGroupEgress": [
                    {"DestinationSecurityGroupId": group_id(group), **_tcp(port)}
                    for port in ports.values()
                ],
            },
        ),
    )
    for each, port in ports.items():
        yield f"{name}Door{each.capitalize()}Ingress", _rule(group, DOOR_GROUP, port)


def _egress(deployment: Deployment, task: TaskDefinition) -> Iterator[dict[str, Any]]:
    broker = deployment.broker
    to: dict[str, Any] = (
        {"DestinationSecurityGroupId": group_id(BROKER_GROUP)}
        if broker.own
        else {"CidrIp": ref(BROKER_CIDR)}
    )
    yield {**to, **_tcp(broker.port)}
    if broker.own and task.name == OPERATOR:
        yield {**to, **_tcp(MANAGEMENT_PORT)}
    if task.egress:
        yield {"CidrIp": "0.0.0.0/0", "IpProtocol": "-1"}
        yield {"CidrIpv6": "::/0", "IpProtocol": "-1"}
        return
    # A task pulls its image, reads its secrets and writes its logs through its own interface.
    yield {"DestinationSecurityGroupId": ref(ENDPOINTS_GROUP), **_tcp(_HTTPS)}
    yield {"DestinationPrefixListId": ref(S3_PREFIXES), **_tcp(_HTTPS)}
