"""The roles of a task: what starts it, and what its code may do at AWS.

The execution role reads the secrets of this task, writes its logs and pulls its image, and nothing
else. The task role may do nothing unless [deploy.ecs] names policies: code speaks to RabbitMQ.
"""

from __future__ import annotations

import re
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
from eventmesh.deployment.ecs.parameters import KEY, secret_parameter
from eventmesh.deployment.ecs.task_definition import log_group
from eventmesh.deployment.model import Deployment, TaskDefinition
from eventmesh.deployment.platforms import Ecs

_ECR: Final = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?(?:/(.*))?")

_TRUST: Final[dict[str, Any]] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ecs-tasks.amazonaws.com"},
            "Action": "sts:AssumeRole",
            # Against a deputy that another account confuses.
            "Condition": {
                "StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")},
                "ArnLike": {
                    "aws:SourceArn": sub(
                        "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:*"
                    )
                },
            },
        }
    ],
}


def roles(deployment: Deployment, task: TaskDefinition, ecs: Ecs) -> Iterator[tuple[str, Resource]]:
    """Yield the log group and the two roles of a task, with their names in the template."""
    name = logical_id(task.name)
    yield (
        f"{name}Logs",
        resource(
            "Logs::LogGroup",
            {"LogGroupName": log_group(deployment, task), "RetentionInDays": ecs.log_days},
            DeletionPolicy="Delete",
            UpdateReplacePolicy="Delete",
        ),
    )
    yield (
        f"{name}ExecutionRole",
        resource(
            "IAM::Role",
            {
                "AssumeRolePolicyDocument": _TRUST,
                "Policies": [
                    {
                        "PolicyName": "start",
                        "PolicyDocument": {
                            "Version": "2012-10-17",
                            "Statement": list(_statements(deployment, task, ecs)),
                        },
                    }
                ],
            },
        ),
    )
    policies = ecs.policies.get(task.name, ())
    yield (
        f"{name}TaskRole",
        resource(
            "IAM::Role",
            {
                "AssumeRolePolicyDocument": _TRUST,
                **({"ManagedPolicyArns": list(policies)} if policies else {}),
            },
        ),
    )


def _statements(deployment: Deployment, task: TaskDefinition, ecs: Ecs) -> Iterator[dict[str, Any]]:
    yield _allow(
        ["secretsmanager:GetSecretValue"],
        [ref(secret_parameter(each.name)) for each in task.secrets],
    )
    if ecs.secrets_key is not None:
        yield _allow(["kms:Decrypt"], [ref(KEY)])
    yield _allow(
        ["logs:CreateLogStream", "logs:PutLogEvents"],
        [get_att(f"{logical_id(task.name)}Logs", "Arn")],
    )
    found = _ECR.fullmatch(deployment.registry)
    if found is None:
        return
    account, region, folder = found.groups()
    repository = f"{folder}/{task.image.name}" if folder else task.image.name
    # It has no resource: a token is for all that its owner may pull.
    yield _allow(["ecr:GetAuthorizationToken"], ["*"])
    yield _allow(
        ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        [sub(f"arn:${{AWS::Partition}}:ecr:{region}:{account}:repository/{repository}")],
    )


def _allow(actions: list[str], resources: list[Any]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
