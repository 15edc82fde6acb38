"""Application Auto Scaling: as many tasks as keep the backlog of each near its target.

https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking-metric-math.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eventmesh.deployment.ecs.cloudformation import (
    Resource,
    get_att,
    logical_id,
    ref,
    resource,
    sub,
)
from eventmesh.deployment.ecs.limits import MAX_POLICIES
from eventmesh.deployment.ecs.parameters import RUNNING
from eventmesh.deployment.model import Deployment, QueueTarget, ServiceDeployment
from eventmesh.deployment.platforms import Ecs
from eventmesh.model.errors import SettingsError

AMAZON_MQ: Final = "AWS/AmazonMQ"
_METRIC: Final = "MessageReadyCount"
_CPU: Final = 60
"""Percent of its CPU at which another task is right, where nothing counts messages."""

_OUT: Final = 60
"""Seconds until tasks that were added count: the period of the metrics."""


def backlog_namespace(deployment: Deployment, ecs: Ecs) -> str | None:
    """Return where CloudWatch has the lengths of queues, None for nowhere.

    Amazon MQ publishes them for RabbitMQ 3.13, and for no later version.
    """
    if ecs.backlog_namespace is not None:
        return ecs.backlog_namespace
    return AMAZON_MQ if deployment.broker.own and ecs.rabbitmq_version == "3.13" else None


def scaling_warnings(deployment: Deployment, ecs: Ecs) -> Iterator[str]:
    """Yield where Application Auto Scaling does other than what the model says."""
    if backlog_namespace(deployment, ecs) is None:
        yield (
            "nothing publishes the lengths of queues to CloudWatch, so services are scaled by "
            "their CPU: set ecs.backlog_namespace, or let Amazon MQ run RabbitMQ 3.13"
        )
    for service in deployment.running:
        if service.scaling.minimum == 0 and not service.scaling.is_fixed:
            yield (
                f"{service.name}: minimum=0, and one task stays: Application Auto Scaling divides "
                "by the number of tasks, and never starts the first"
            )


def autoscaling(
    deployment: Deployment, service: ServiceDeployment, ecs: Ecs, cluster: Any
) -> Iterator[tuple[str, Resource]]:
    """Yield the target and the policies that scale a service, none for one that is fixed.

    Where several policies ask for tasks, the most is done; tasks go once all agree. Raises
    SettingsError for more queues than there may be policies.
    """
    scaling = service.scaling
    if scaling.is_fixed:
        return
    name = logical_id(service.name)
    condition = {"Condition": RUNNING} if deployment.broker.own else {}
    yield (
        f"{name}Scaling",
        resource(
            "ApplicationAutoScaling::ScalableTarget",
            {
                "ServiceNamespace": "ecs",
                "ScalableDimension": "ecs:service:DesiredCount",
                "ResourceId": sub(
                    f"service/${{ClusterName}}/${{{name}Service.Name}}", ClusterName=cluster
                ),
                "MinCapacity": max(scaling.minimum, 1),
                "MaxCapacity": scaling.maximum,
            },
            **condition,
        ),
    )
    for number, (what, tracked) in enumerate(_policies(deployment, service, ecs, cluster), 1):
        yield (
            f"{name}ScalingPolicy{number}",
            resource(
                "ApplicationAutoScaling::ScalingPolicy",
                {
                    "PolicyName": f"{deployment.name}-{service.name}-{what}"[:256],
                    "PolicyType": "TargetTrackingScaling",
                    "ScalingTargetId": ref(f"{name}Scaling"),
                    "TargetTrackingScalingPolicyConfiguration": {
                        **tracked,
                        "ScaleOutCooldown": _OUT,
                        "ScaleInCooldown": int(scaling.calm),
                    },
                },
                **condition,
            ),
        )


def _policies(
    deployment: Deployment, service: ServiceDeployment, ecs: Ecs, cluster: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    scaling = service.scaling
    namespace = backlog_namespace(deployment, ecs)
    if namespace is None or not scaling.queues:
        yield (
            "cpu",
            {
                "TargetValue": scaling.cpu or _CPU,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "ECSServiceAverageCPUUtilization"
                },
            },
        )
        return
    if len(scaling.queues) > MAX_POLICIES:
        raise SettingsError(
            f"{service.name} is scaled by {len(scaling.queues)} queues, and Application Auto "
            f"Scaling takes {MAX_POLICIES} policies for one service: split it, or fix its count "
            "with minimum and maximum"
        )
    for queue in scaling.queues:
        tracked = _backlog(deployment, queue, namespace, service, cluster)
        yield (queue.queue, {"TargetValue": queue.backlog, **tracked})


def _backlog(
    deployment: Deployment,
    queue: QueueTarget,
    namespace: str,
    service: ServiceDeployment,
    cluster: Any,
) -> dict[str, Any]:
    """The messages that wait in a queue for each running task, a metric that is computed."""
    of_queue = {
        **({"Broker": deployment.name} if namespace == AMAZON_MQ else {}),
        "VirtualHost": deployment.broker.virtual_host,
        "Queue": queue.queue,
    }
    of_service = {
        "ClusterName": cluster,
        "ServiceName": get_att(f"{logical_id(service.name)}Service", "Name"),
    }
    return {
        "CustomizedMetricSpecification": {
            "Metrics": [
                _metric("waiting", namespace, _METRIC, of_queue, "Maximum"),
                _metric(
                    "tasks", "ECS/ContainerInsights", "RunningTaskCount", of_service, "Average"
                ),
                {
                    "Id": "backlog",
                    "Label": f"Messages in {queue.queue} per task",
                    "Expression": "FILL(waiting, 0) / tasks",
                    "ReturnData": True,
                },
            ]
        }
    }


def _metric(
    id: str,
    namespace: str,
    name: str,
    dimensions: dict[str, Any],
    statistic: str,
) -> dict[str, Any]:
    return {
        "Id": id,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": key, "Value": each} for key, each in dimensions.items()],
            },
            "Stat": statistic,
        },
        "ReturnData": False,
    }
