"""The load balancer in front of the gateway.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/introduction.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from eventmesh.deployment.ecs.cloudformation import Resource, ref, resource
from eventmesh.deployment.ecs.network import DOOR_GROUP, group_id
from eventmesh.deployment.ecs.parameters import CERTIFICATE, DOOR_SUBNETS, VPC
from eventmesh.deployment.model import ADMIN, HTTP, HealthCheck, ServiceDeployment

BALANCER: Final = "LoadBalancer"
LISTENER: Final = "HttpsListener"
TARGETS: Final = "GatewayTargets"

_IDLE: Final = 60
"""Seconds without a byte until the load balancer gives up. The gateway keeps connections longer."""


def door(service: ServiceDeployment) -> Iterator[tuple[str, Resource]]:
    """Yield the load balancer of a public service: HTTPS, and HTTP that leads there."""
    yield (
        BALANCER,
        resource(
            "ElasticLoadBalancingV2::LoadBalancer",
            {
                "Type": "application",
                "Scheme": "internet-facing",
                "Subnets": ref(DOOR_SUBNETS),
                "SecurityGroups": [group_id(DOOR_GROUP)],
                "LoadBalancerAttributes": _attributes(
                    {
                        "idle_timeout.timeout_seconds": str(_IDLE),
                        "routing.http.drop_invalid_header_fields.enabled": "true",
                    }
                ),
            },
        ),
    )
    yield TARGETS, _targets(service)
    yield (
        LISTENER,
        resource(
            "ElasticLoadBalancingV2::Listener",
            {
                "LoadBalancerArn": ref(BALANCER),
                "Port": 443,
                "Protocol": "HTTPS",
                "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
                "Certificates": [{"CertificateArn": ref(CERTIFICATE)}],
                "DefaultActions": [{"Type": "forward", "TargetGroupArn": ref(TARGETS)}],
            },
        ),
    )
    yield (
        "HttpListener",
        resource(
            "ElasticLoadBalancingV2::Listener",
            {
                "LoadBalancerArn": ref(BALANCER),
                "Port": 80,
                "Protocol": "HTTP",
                "DefaultActions": [
                    {
                        "Type": "redirect",
                        "RedirectConfig": {
                            "Protocol": "HTTPS",
                            "Port": "443",
                            "StatusCode": "HTTP_301",
                        },
                    }
                ],
            },
        ),
    )


def _targets(service: ServiceDeployment) -> Resource:
    task, health = service.task, service.task.health or HealthCheck()
    return resource(
        "ElasticLoadBalancingV2::TargetGroup",
        {
            "TargetType": "ip",
            "Protocol": "HTTP",
            "Port": task.port(HTTP),
            "VpcId": ref(VPC),
            "HealthCheckPath": health.ready_path,
            "HealthCheckPort": str(task.port(ADMIN)),
            "HealthCheckIntervalSeconds": health.interval,
            # It must be shorter than the interval.
            "HealthCheckTimeoutSeconds": max(2, min(health.timeout, health.interval - 1)),
            "HealthyThresholdCount": 2,
            "UnhealthyThresholdCount": health.retries,
            "Matcher": {"HttpCode": "200"},
            "TargetGroupAttributes": _attributes(
                {"deregistration_delay.timeout_seconds": str(task.grace)}
            ),
        },
    )


def _attributes(texts: dict[str, str]) -> list[dict[str, Any]]:
    return [{"Key": key, "Value": text} for key, text in texts.items()]
