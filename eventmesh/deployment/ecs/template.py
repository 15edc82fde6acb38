"""The CloudFormation template of a deployment.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-anatomy.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from eventmesh.deployment.ecs.autoscaling import autoscaling, scaling_warnings
from eventmesh.deployment.ecs.broker import ADMINISTRATOR, BROKER, broker
from eventmesh.deployment.ecs.cloudformation import (
    Resource,
    check_ids,
    collect,
    get_att,
    logical_id,
    ref,
    resource,
)
from eventmesh.deployment.ecs.door import BALANCER, door
from eventmesh.deployment.ecs.limits import check_name, check_template
from eventmesh.deployment.ecs.network import MONITORING_GROUP, group_id, group_name, security_groups
from eventmesh.deployment.ecs.parameters import CLUSTER, RUN, RUNNING, VPC, parameters
from eventmesh.deployment.ecs.roles import roles
from eventmesh.deployment.ecs.service import (
    NAMESPACE,
    namespace,
    service_resources,
    task_resource,
)
from eventmesh.deployment.ecs.sizes import rounding_warnings
from eventmesh.deployment.ecs.task_definition import build_task_definitions
from eventmesh.deployment.model import Deployment
from eventmesh.deployment.platforms import Ecs
from eventmesh.deployment.yaml_text import dump_yaml
from eventmesh.model.errors import SettingsError

TEMPLATE: Final = "template.yaml"
_HEADER: Final = "# Written by `eventmesh export ecs`; edit it freely.\n\n"


def build_template(deployment: Deployment, ecs: Ecs) -> dict[str, Any]:
    """Build the template of a deployment.

    Raises SettingsError for what Amazon ECS or Amazon MQ would refuse, and for names that are the
    same in a template.
    """
    check_ids([*(task.name for task in deployment.tasks), "Monitoring", "Door", "Broker"])
    check_ids(each.name for each in deployment.secrets)
    _check_policies(deployment, ecs)
    check_name(deployment)
    asked = parameters(deployment, ecs)
    own_cluster = ecs.cluster is None and ecs.launch_type == "FARGATE"
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"The services of {deployment.name}, by eventmesh",
        "Parameters": asked,
        **(
            {"Conditions": {RUNNING: {"Fn::Equals": [ref(RUN), "yes"]}}}
            if deployment.broker.own
            else {}
        ),
        "Resources": collect(_resources(deployment, ecs, own_cluster=own_cluster), asked),
        "Outputs": dict(_outputs(deployment)),
    }


def render(deployment: Deployment, ecs: Ecs, *, task_definitions: bool = False) -> dict[str, str]:
    """Return the texts of the files by their names: a template, or `task_definitions` in its place.

    Raises SettingsError as `build_template` and `build_task_definitions` do, and for a template
    that is too long.
    """
    if task_definitions:
        found = build_task_definitions(deployment, ecs)
        return {name: json.dumps(each, indent=2) + "\n" for name, each in found.items()}
    template = build_template(deployment, ecs)
    text = _HEADER + dump_yaml(template)
    check_template(template, text)
    return {TEMPLATE: text}


def warnings(deployment: Deployment, ecs: Ecs) -> Iterator[str]:
    """Yield what whoever deploys should know."""
    if ecs.launch_type == "FARGATE":
        yield from rounding_warnings(deployment.tasks)
    yield from scaling_warnings(deployment, ecs)


def _check_policies(deployment: Deployment, ecs: Ecs) -> None:
    names = [task.name for task in deployment.tasks]
    for name in ecs.policies:
        if name not in names:
            raise SettingsError(
                f"deploy.ecs.policies.{name}: there is no such service: there are "
                f"{', '.join(names)}"
            )


def _resources(
    deployment: Deployment, ecs: Ecs, *, own_cluster: bool
) -> Iterator[tuple[str, Resource]]:
    cluster = ref("Cluster" if own_cluster else CLUSTER)
    if own_cluster:
        # Container Insights count the tasks, which scaling divides by.
        counted = [{"Name": "containerInsights", "Value": "enabled"}]
        yield "Cluster", resource("ECS::Cluster", {"ClusterSettings": counted})
    yield (
        NAMESPACE,
        resource(
            "ServiceDiscovery::PrivateDnsNamespace",
            {"Name": namespace(deployment, ecs), "Vpc": ref(VPC)},
        ),
    )
    yield from security_groups(deployment)
    if deployment.broker.own:
        yield from broker(deployment, ecs)
    for task in deployment.tasks:
        yield from roles(deployment, task, ecs)
        yield from task_resource(deployment, task, ecs)
    for service in deployment.running:
        if service.public:
            yield from door(service)
        yield from service_resources(deployment, service, ecs, cluster)
        yield from autoscaling(deployment, service, ecs, cluster)


def _outputs(deployment: Deployment) -> Iterator[tuple[str, dict[str, Any]]]:
    found: dict[str, tuple[str, Any]] = {
        MONITORING_GROUP: ("Give it to what asks for metrics", group_id(MONITORING_GROUP))
    }
    if deployment.gateway is not None:
        found["Address"] = (
            "The load balancer, for a DNS record of yours",
            get_att(BALANCER, "DNSName"),
        )
    if deployment.operator is not None:
        name = logical_id(deployment.operator.name)
        found["OperatorTask"] = ("The command line, for 'aws ecs run-task'", ref(f"{name}Task"))
        found["OperatorGroup"] = (
            "The command line's security group",
            group_id(group_name(deployment.operator)),
        )
    if deployment.broker.own:
        found["BrokerId"] = ("The broker, for 'aws mq describe-broker'", ref(BROKER))
        found["BrokerAdministrator"] = (
            "The secret with the broker's administrator",
            ref(ADMINISTRATOR),
        )
    for name, (description, text) in found.items():
        yield name, {"Description": description, "Value": text}
