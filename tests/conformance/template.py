"""SAM templates of durable functions: written from the handlers, and read again."""

import importlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).parent
SERVICE = "conformance"
MODULES = (
    "batches",
    "branches",
    "callbacks",
    "children",
    "conditions",
    "invokes",
    "mappings",
    "plugins",
    "steps",
    "submissions",
    "waits",
)
FUNCTION = "AWS::Serverless::Function"
LAYER = "AWS::Serverless::LayerVersion"
DEFAULTS = {
    "Timeout": 60,
    "MemorySize": 512,
    "DurableConfig": {"ExecutionTimeout": 600, "RetentionPeriodInDays": 1},
    "LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "INFO"},
}
TARGETS = {"ECHO_FUNCTION": "echo", "FAILING_FUNCTION": "fail", "MEASURE_FUNCTION": "measure"}
"""The functions of `invokes` that others there invoke, by the variables that name them."""


def write_template(path, functions):
    """Write a template that has these functions, and what they need."""
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": {"Notes": {"Type": "String"}},
        "Globals": {"Function": DEFAULTS},
        "Resources": functions,
    }
    # Without anchors, which it would have for lists that are one object.
    path.write_text(yaml.safe_dump(json.loads(json.dumps(template)), sort_keys=False))


def describe_python(layer):
    """Return the resources of the handlers in Python; `layer` has what they import."""
    sys.path[:0] = [str(HERE / "python"), str(layer / "python")]
    for module in MODULES:
        importlib.import_module(module)
    declared = importlib.import_module("common").HANDLERS
    names = {(each.module, each.name): each.resource for each in declared}
    targets = {name: {"Ref": names["invokes", target]} for name, target in TARGETS.items()}
    resources = {"Sdk": {"Type": LAYER, "Properties": {"ContentUri": str(layer)}}}
    for each in declared:
        variables = {"CONFORMANCE_NOTES": {"Ref": "Notes"}}
        if each.module == "invokes" and each.name not in TARGETS.values():
            variables |= targets
        properties = {
            "CodeUri": str(HERE / "python"),
            "Handler": f"{each.module}.{each.name}",
            "Runtime": f"python3.{sys.version_info.minor}",
            "Layers": [{"Ref": "Sdk"}],
        }
        if each.is_prompt:
            properties |= {
                "AutoPublishAlias": "live",
                "ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": 1},
            }
        resources[each.resource] = _describe(properties, variables, each.requirements)
    return resources


def describe_javascript(code, node):
    """Return the resources of the handlers in JavaScript, which that folder has.

    `node` is the folder of the program that runs them.
    """
    found = json.loads((HERE / "javascript" / "requirements.json").read_text())
    resources = {}
    for name, requirements in found.items():
        variables = {"PATH": f"{node}{os.pathsep}{os.defpath}"}
        if name == "call":
            variables["ECHO_FUNCTION"] = {"Ref": "IndexEcho"}
        properties = {"CodeUri": str(code), "Handler": f"index.{name}", "Runtime": "nodejs24.x"}
        resource = "Index" + name[0].upper() + name[1:]
        resources[resource] = _describe(properties, variables, requirements)
    return resources


def keep_requirements(resources, wanted):
    """Return the resources with no other requirements than these."""
    return {
        name: each | {"TestingMetadata": {"TestDescription": _keep(each, wanted)}}
        if each["Type"] == FUNCTION
        else each
        for name, each in resources.items()
    }


def _keep(resource, wanted):
    return [id for id in resource["TestingMetadata"]["TestDescription"] if id in wanted]


def _describe(properties, variables, requirements):
    return {
        "Type": FUNCTION,
        "Properties": properties | {"Environment": {"Variables": variables}},
        "TestingMetadata": {"TestDescription": list(requirements)},
    }


@dataclass(frozen=True)
class Declared:
    """A function of a template: its logical name there, its name in the mesh, and its options."""

    resource: str
    name: str
    options: dict

    @property
    def physical(self):
        """The name by which it is invoked."""
        return f"{SERVICE}.{self.name}"


def read_template(path, parameters):
    """Return the functions of a template, with the values of its parameters."""
    template = yaml.safe_load(Path(path).read_text())
    resources = template["Resources"]
    known = dict(parameters)
    for name, resource in resources.items():
        if resource["Type"] == LAYER:
            known[name] = resource["Properties"]["ContentUri"]
        else:
            known[name] = f"{SERVICE}.{_own_name(resource)}"
    found = [(name, each) for name, each in resources.items() if each["Type"] == FUNCTION]
    defaults = template["Globals"]["Function"]
    return [
        Declared(name, _own_name(each), _options(_fill(defaults | each["Properties"], known)))
        for name, each in found
    ]


def _own_name(resource):
    return resource["Properties"]["Handler"].replace(".", "_")


def _fill(value, known):
    """Put what references mean in their place."""
    if isinstance(value, dict):
        if set(value) == {"Ref"}:
            return known[value["Ref"]]
        return {name: _fill(each, known) for name, each in value.items()}
    return [_fill(each, known) for each in value] if isinstance(value, list) else value


def _options(properties):
    """What a service declares such a function with."""
    durable, logging = properties["DurableConfig"], properties["LoggingConfig"]
    provisioned = properties.get("ProvisionedConcurrencyConfig", {})
    return {
        "code": properties["CodeUri"],
        "handler": properties["Handler"],
        "runtime": properties["Runtime"],
        "timeout": properties["Timeout"],
        "memory": f"{properties['MemorySize']}M",
        "environment": properties["Environment"]["Variables"],
        "layers": properties.get("Layers", ()),
        "log_format": logging["LogFormat"],
        "log_level": logging["ApplicationLogLevel"],
        "provisioned": provisioned.get("ProvisionedConcurrentExecutions", 0),
        "durable": True,
        "execution_timeout": durable["ExecutionTimeout"],
        "retention": f"{durable['RetentionPeriodInDays']}d",
    }
