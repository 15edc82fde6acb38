"""Reads a CloudFormation template as the requests that it becomes, and validates them as AWS does.

botocore's own validator checks types, required and unknown members and minima; the service models
also have enumerations, patterns and maxima, which are checked here.
"""

import functools
import json
import re

import botocore.session
import regex
from botocore.validate import ParamValidator

ACCOUNT, REGION_NAME = "123456789012", "eu-central-1"
_SAMPLES = {
    "Vpc": "vpc-0123456789abcdef0",
    "Subnets": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
    "DoorSubnets": ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"],
    "AWS::Region": REGION_NAME,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
}
_ATTRIBUTES = {"AmqpEndpoints": ["amqps://b-1234.mq.eu-central-1.on.aws:5671"]}
# Requests whose members begin with a small letter.
_LOWER = {"AWS::ECS::TaskDefinition", "AWS::ECS::Service", "AWS::Logs::LogGroup"}
_RENAMED = {"PlacementStrategies": "placementStrategy"}
# What CloudFormation makes up.
_NAMED = {"AWS::ElasticLoadBalancingV2::TargetGroup": {"Name": "made-up"}}
# Type of a resource: service, operation, and what CloudFormation asks in requests of its own.
OPERATIONS = {
    "AWS::ECS::TaskDefinition": ("ecs", "RegisterTaskDefinition", ()),
    "AWS::ECS::Service": ("ecs", "CreateService", ()),
    "AWS::ApplicationAutoScaling::ScalableTarget": (
        "application-autoscaling",
        "RegisterScalableTarget",
        (),
    ),
    "AWS::ServiceDiscovery::Service": ("servicediscovery", "CreateService", ()),
    "AWS::ServiceDiscovery::PrivateDnsNamespace": (
        "servicediscovery",
        "CreatePrivateDnsNamespace",
        (),
    ),
    "AWS::ElasticLoadBalancingV2::TargetGroup": (
        "elbv2",
        "CreateTargetGroup",
        ("TargetGroupAttributes",),
    ),
    "AWS::ElasticLoadBalancingV2::Listener": ("elbv2", "CreateListener", ()),
    "AWS::Logs::LogGroup": ("logs", "CreateLogGroup", ("RetentionInDays",)),
    "AWS::AmazonMQ::Broker": ("mq", "CreateBroker", ()),
}


@functools.cache
def _model(service):
    return botocore.session.get_session().get_service_model(service)


def faults(service, operation, request):
    """Return what is wrong with a request, as texts; none where AWS would take it."""
    shape = _model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    found = [report.generate_report()] if report.has_errors() else []
    return found + list(_constraints(request, shape, operation))


def _constraints(value, shape, path):
    yield from (f"{path}: {fault}" for fault in _faults(value, shape.metadata))
    for name, each, inner in _parts(value, shape):
        yield from _constraints(each, inner, f"{path}.{name}")


def _faults(value, limits):
    size = len(value) if isinstance(value, str | list | dict) else value
    if "enum" in limits and value not in limits["enum"]:
        yield f"{value!r} is none of {limits['enum']}"
    pattern = limits.get("pattern", "")
    # Java's notation of characters beyond U+FFFF is no regular expression of Python.
    if pattern and "\\uD800" not in pattern and not regex.fullmatch(pattern, value):
        yield f"{value!r} does not match {pattern}"
    if size > limits.get("max", size):
        yield f"{size} is more than {limits['max']}"
    if size < limits.get("min", size):
        yield f"{size} is less than {limits['min']}"


def _parts(value, shape):
    """Yield the parts of a value: how they are called, and what they are to be."""
    if shape.type_name == "structure":
        # botocore's validator says so of a member that there is not.
        known = [name for name in value if name in shape.members]
        yield from ((name, value[name], shape.members[name]) for name in known)
    elif shape.type_name == "list":
        yield from ((number, each, shape.member) for number, each in enumerate(value))
    elif shape.type_name == "map":
        for name, each in value.items():
            yield from ((name, name, shape.key), (name, each, shape.value))


class Stack:
    """A template as it is deployed, with samples for what an account decides.

    With `running` RabbitMQ has its users.
    """

    def __init__(self, template, *, running=True):
        self.resources = template["Resources"]
        self._parameters = template["Parameters"]
        self._running = running

    def of_type(self, kind):
        """Return the properties of all resources of a type, by their names."""
        return {
            name: self.resolve(each["Properties"])
            for name, each in self.resources.items()
            if each["Type"] == f"AWS::{kind}"
        }

    def requests(self):
        """Yield service, operation and request of all resources of which there is a model."""
        for name, each in self.resources.items():
            kind, values = each["Type"], self.resolve(each["Properties"])
            if kind in OPERATIONS:
                service, operation, apart = OPERATIONS[kind]
                values = {key: value for key, value in values.items() if key not in apart}
                values = _NAMED.get(kind, {}) | values
                yield service, operation, members(values) if kind in _LOWER else values
            if kind == "AWS::ApplicationAutoScaling::ScalingPolicy":
                target = self.resources[values.pop("ScalingTargetId")]["Properties"]
                values |= {
                    key: self.resolve(target[key])
                    for key in ("ServiceNamespace", "ScalableDimension", "ResourceId")
                }
                yield "application-autoscaling", "PutScalingPolicy", values
            if kind == "AWS::IAM::Role":
                trust = json.dumps(values["AssumeRolePolicyDocument"])
                yield "iam", "CreateRole", {"RoleName": name, "AssumeRolePolicyDocument": trust}
                for policy in values.get("Policies", ()):
                    document = json.dumps(policy["PolicyDocument"])
                    yield (
                        "iam",
                        "PutRolePolicy",
                        {
                            "RoleName": name,
                            "PolicyName": policy["PolicyName"],
                            "PolicyDocument": document,
                        },
                    )

    def resolve(self, value):
        """Return a value with all functions carried out."""
        if isinstance(value, list):
            return [self.resolve(each) for each in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, given),) = value.items()
            if function == "Ref":
                return self._ref(given)
            if function.startswith("Fn::"):
                return getattr(self, function[4:].lower().replace("getatt", "get_att"))(given)
        return {key: self.resolve(each) for key, each in value.items()}

    def _ref(self, name):
        if name in self._parameters:
            given = self._parameters[name].get("Default")
            if name in _SAMPLES:
                return _SAMPLES[name]
            if name.endswith("Secret"):
                return (
                    given or f"arn:aws:secretsmanager:{REGION_NAME}:{ACCOUNT}:secret:{name}-AbCdEf"
                )
            return given or f"sample-{name}"
        return _SAMPLES.get(name, name)

    def get_att(self, given):
        name, attribute = given
        assert name in self.resources, f"there is no resource {name}"
        if attribute == "Arn":
            return f"arn:aws:iam::{ACCOUNT}:role/{name}"
        if attribute == "GroupId":
            return f"sg-{name}"
        if attribute == "Name":
            return self.resources[name]["Properties"]["ServiceName"]
        return _ATTRIBUTES[attribute]

    def sub(self, given):
        text, values = given if isinstance(given, list) else (given, {})

        def replace(found):
            name, _, attribute = found[1].partition(".")
            if name in values:
                return self.resolve(values[name])
            return self.get_att([name, attribute]) if attribute else self._ref(name)

        return re.sub(r"\$\{([^}]+)\}", replace, text)

    def select(self, given):
        return self.resolve(given[1])[given[0]]

    def split(self, given):
        return self.resolve(given[1]).split(given[0])

    def __getattr__(self, name):
        if name != "if":
            raise AttributeError(name)
        return lambda given: self.resolve(given[1] if self._running else given[2])


def members(properties):
    """Return the properties of a resource of Amazon ECS as the members of a request."""
    if isinstance(properties, list):
        return [members(each) for each in properties]
    if not isinstance(properties, dict):
        return properties
    return {
        _RENAMED.get(name, name[0].lower() + name[1:]): each if name == "Options" else members(each)
        for name, each in properties.items()
    }
