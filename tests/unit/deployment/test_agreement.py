"""All exports are views of one model: for random deployments they say the same."""

import json
import re
from pathlib import Path

from aws_requests import Stack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventmesh.brokers.rabbitmq.access.permissions import permissions
from eventmesh.clusters.abc import ClusterService
from eventmesh.deployment.compose.document import build_compose, format_size
from eventmesh.deployment.config import DeployConfig
from eventmesh.deployment.ecs.cloudformation import logical_id, ref
from eventmesh.deployment.ecs.parameters import secret_parameter
from eventmesh.deployment.ecs.template import build_template
from eventmesh.deployment.kubernetes.manifests import build_kustomization, build_manifests
from eventmesh.deployment.kubernetes.names import object_name
from eventmesh.deployment.model import SECRETS_FOLDER
from eventmesh.deployment.plan import Source, plan_deployment
from eventmesh.deployment.platforms import Ecs, Kubernetes, Swarm, Systemd
from eventmesh.deployment.swarm import build_stack
from eventmesh.deployment.systemd import build_units
from eventmesh.packaging.broker_export import rights_of
from eventmesh.packaging.image import Image
from eventmesh.packaging.secret_files import write_service_secrets
from eventmesh.scaling.run import Choices, build_rules
from eventmesh.service import Service
from eventmesh.triggers import on

HERE = Path("/srv/shop")
NAMES = ("orders", "stock", "Mail_Desk", "billing")


@st.composite
def services(draw):
    """Services with functions that differ in what a deployment follows from."""
    made = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)):
        calls = draw(
            st.lists(st.sampled_from(("stock.*", "other.run", "queue:bills")), unique=True)
        )
        service = Service(name, calls=calls, emits=draw(st.sampled_from(([], ["order.placed"]))))
        for number in range(draw(st.integers(1, 3))):
            triggers = {
                "none": [],
                "post": [on.post(f"/{name}/{number}")],
                "event": [on.event("order.*")],
                "queue": [on.queue(f"{name}-{number}")],
            }[draw(st.sampled_from(("none", "post", "event", "queue")))]

            async def run(order: str = "") -> None: ...

            service.function(
                *triggers,
                name=f"run{number}",
                timeout=draw(st.none() | st.integers(1, 4000)),
                concurrency=draw(st.integers(1, 200)),
            )(run)
        made.append(service)
    return made


def task_config():
    return st.fixed_dictionaries(
        {},
        optional={
            "cpus": st.sampled_from((0.25, 0.5, 1, 2, 4)),
            "memory": st.integers(32, 4096).map(lambda each: f"{each}M"),
            "maximum": st.integers(10, 50),
            "count": st.integers(1, 10),
            "latency": st.sampled_from((0.05, 1, "2m")),
            "calm": st.integers(1, 4000),
            "duration": st.sampled_from((0.01, 0.2, 3)),
            "egress": st.booleans(),
            "store": st.just("database"),
            "secrets": st.lists(st.sampled_from(("stripe", "mail.key")), unique=True),
            "environment": st.just({"LEVEL": "$5 of 100%"}),
        },
    )


@st.composite
def deployments(draw, broker="", *, managed=False):
    made = draw(services())
    of_each = {each.name: draw(task_config()) for each in made if draw(st.booleans())}
    common = draw(task_config())
    common.pop("count", None)
    config = DeployConfig.model_validate(
        {**common, "services": of_each, "registry": "r.example", "broker": broker}
    )
    sources = [Source(Image(HERE / each.name, HERE / each.name / "app.py"), each) for each in made]
    return made, plan_deployment(sources, config, "shop", managed=managed)


def scaled_by(labels):
    """The bounds, latency and calm window that `eventmesh autoscale` reads from labels."""
    known = {name.removeprefix("eventmesh."): text for name, text in labels.items()}
    none = Choices((), "auto", "shop", 0.125, 0.125, 0.8, 2.0, dry_run=False)
    rule = build_rules(none)(ClusterService("orders", "", 1, 1, labels=known))
    return rule and (rule.minimum, rule.maximum, rule.latency, rule.calm)


def of_compose(document):
    """For each service: count, cores, memory, seconds to stop, secrets, environment."""
    return {
        name: (
            service["deploy"].get("replicas", 1),
            float(service["deploy"]["resources"]["limits"]["cpus"]),
            service["deploy"]["resources"]["limits"]["memory"],
            int(service["stop_grace_period"].rstrip("s")),
            tuple(service["secrets"]),
            {key: text.replace("$$", "$") for key, text in service["environment"].items()},
        )
        for name, service in document["services"].items()
        if name not in ("rabbitmq", "operator", "gateway")
    }


def of_kubernetes(files, deployment):
    found = {}
    for service in deployment.services:
        kinds = {each["kind"]: each for each in files[f"{object_name(service.name)}.yaml"]}
        spec = kinds["Deployment"]["spec"]
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        (sources,) = (v["projected"]["sources"] for v in pod["volumes"] if "projected" in v)
        found[service.name] = (
            spec["replicas"],
            float(container["resources"]["limits"]["cpu"]),
            format_size(int(container["resources"]["limits"]["memory"])),
            pod["terminationGracePeriodSeconds"],
            tuple(each["secret"]["items"][0]["path"] for each in sources),
            {each["name"]: each["value"] for each in container["env"]},
        )
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deployments())
def test_counts_limits_secrets_grace_times_and_permissions(made):
    services, deployment = made
    compose = build_compose(deployment, HERE, None)
    stack = build_stack(deployment, Swarm(), HERE)
    fixed = Kubernetes(autoscaler="none")
    manifests = build_manifests(deployment, fixed)
    expected = {
        each.name: (
            each.count,
            each.task.cpus,
            format_size(each.task.memory),
            each.task.stop_timeout,
            tuple(secret.name for secret in each.task.secrets),
            deployment.environment(each.task),
        )
        for each in deployment.services
    }
    assert of_compose(compose) == expected
    assert of_compose(stack) == expected
    assert of_kubernetes(manifests, deployment) == expected
    kustomization = build_kustomization(deployment, fixed, manifests)
    made_by_kustomize = {
        file.removeprefix("secrets/")
        for each in kustomization["secretGenerator"]
        for file in each["files"]
        if "=" not in file
    }
    assert made_by_kustomize == set(compose["secrets"]) - {"rabbitmq.pem", "rabbitmq.key"}
    assert set(stack["secrets"]) == set(compose["secrets"])
    # As the users of one broker are the same for all, so are their rights.
    granted = {each.user: each for each in deployment.permissions}
    for each in services:
        assert granted[each.name] == permissions(rights_of(each))
    assert set(granted) == {*(each.name for each in services), "gateway", "operator"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deployments())
def test_bounds_and_queues_of_what_is_scaled(made):
    _, deployment = made
    files = build_manifests(deployment, Kubernetes())
    compose = build_compose(deployment, HERE, None)["services"]
    stack = build_stack(deployment, Swarm(), HERE)["services"]
    assert scaled_by(compose["gateway"].get("labels", {})) is None
    for service in deployment.services:
        kinds = {each["kind"]: each for each in files[f"{object_name(service.name)}.yaml"]}
        scaling = service.scaling
        wanted = (scaling.minimum, scaling.maximum, scaling.latency, scaling.calm)
        for labels in (compose[service.name], stack[service.name]["deploy"]):
            found = scaled_by(labels.get("labels", {}))
            assert found == (None if scaling.is_fixed else wanted)
        assert "labels" not in stack[service.name]
        if scaling.is_fixed:
            assert kinds["Deployment"]["spec"]["replicas"] == service.count
            continue
        assert "replicas" not in kinds["Deployment"]["spec"]
        spec = kinds["ScaledObject"]["spec"]
        assert scaling.minimum <= service.count <= scaling.maximum
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (
            scaling.minimum,
            scaling.maximum,
        )
        assert {
            each["metadata"]["queueName"]: int(each["metadata"]["value"])
            for each in spec["triggers"]
        } == {each.queue: each.backlog for each in scaling.queues}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deployments(broker="amqps://mq.example/shop"))
def test_units_have_the_same(made):
    _, deployment = made
    units = build_units(deployment, Systemd())
    for service in deployment.services:
        task = service.task
        text = units[f"shop-{service.name}@.service"]
        assert f"TimeoutStopSec={task.stop_timeout}\n" in text
        assert f"MemoryMax={task.memory}\n" in text
        assert f"CPUQuota={task.cpus * 100:g}%\n" in text
        secrets = re.findall(r"^LoadCredential=([^:]+):", text, re.MULTILINE)
        assert secrets == [each.name for each in task.secrets]
        environment = dict(
            line.replace("%d/", f"{SECRETS_FOLDER}/").replace("%%", "%").split("=", 1)
            for line in re.findall(r'^Environment="(.*)"$', text, re.MULTILINE)
        )
        for ours in ("EVENTMESH_HTTP_PORT", "EVENTMESH_ADMIN_PORT"):
            environment.pop(ours)
        assert environment == deployment.environment(task)


def of_ecs(stack):
    """For each task: limits, seconds to stop, secrets by their parameters, environment."""
    found = {}
    for task in stack.of_type("ECS::TaskDefinition").values():
        (container,) = task["ContainerDefinitions"]
        environment = {each["Name"]: each["Value"] for each in container["Environment"]}
        names = environment.pop("EVENTMESH_SECRETS").split(",")
        arns = {each["Name"]: each["ValueFrom"] for each in container["Secrets"]}
        assert list(arns) == [f"EVENTMESH_SECRETS_{number + 1}" for number in range(len(names))]
        found[container["Name"]] = (
            container["Cpu"] / 1024,
            container["Memory"] * 2**20,
            container["StopTimeout"],
            dict(zip(names, arns.values(), strict=True)),
            environment,
        )
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deployments(broker="amqps://mq.example/shop"), st.booleans())
def test_amazon_ecs_has_the_same(made, scaled):
    _, deployment = made
    # Fargate stops nothing later than after two minutes: that is refused, and tested beside it.
    ecs = Ecs(launch_type="EC2", backlog_namespace="Shop" if scaled else None)
    stack = Stack(build_template(deployment, ecs))
    found = of_ecs(stack)
    assert found == {
        task.name: (
            task.cpus,
            task.memory,
            task.stop_timeout,
            {each.name: stack.resolve(ref(secret_parameter(each.name))) for each in task.secrets},
            deployment.environment(task),
        )
        for task in deployment.tasks
    }
    counts = stack.of_type("ECS::Service")
    bounds = stack.of_type("ApplicationAutoScaling::ScalableTarget")
    tracked = stack.of_type("ApplicationAutoScaling::ScalingPolicy").values()
    for service in deployment.running:
        name, scaling = logical_id(service.name), service.scaling
        assert counts[f"{name}Service"]["DesiredCount"] == service.count
        assert (f"{name}Scaling" in bounds) is not scaling.is_fixed
        if scaling.is_fixed:
            continue
        bound = bounds[f"{name}Scaling"]
        assert (bound["MinCapacity"], bound["MaxCapacity"]) == (scaling.minimum, scaling.maximum)
        targets = {
            each["PolicyName"]: each["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
            for each in tracked
            if each["ScalingTargetId"] == f"{name}Scaling"
        }
        by_queue = {f"shop-{service.name}-{each.queue}": each.backlog for each in scaling.queues}
        if scaled and by_queue:
            assert targets == by_queue
        else:
            assert set(targets) == {f"shop-{service.name}-cpu"}
    # What a task may read is what it gets.
    for task in deployment.tasks:
        role = stack.of_type("IAM::Role")[f"{logical_id(task.name)}ExecutionRole"]
        (policy,) = role["Policies"]
        readable = policy["PolicyDocument"]["Statement"][0]["Resource"]
        assert readable == list(found[task.name][3].values())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deployments(managed=True))
def test_security_groups_allow_the_connections_of_the_model(made):
    _, deployment = made
    stack = Stack(build_template(deployment, Ecs(launch_type="EC2")))
    rules = stack.of_type("EC2::SecurityGroupIngress").values()
    into_broker = {
        each["SourceSecurityGroupId"]
        for each in rules
        if (each["GroupId"], each["FromPort"]) == ("sg-BrokerGroup", 5671)
    }
    assert into_broker == {f"sg-{logical_id(task.name)}Group" for task in deployment.tasks}
    groups = stack.of_type("EC2::SecurityGroup")
    for task in deployment.tasks:
        leading = groups[f"{logical_id(task.name)}Group"]["SecurityGroupEgress"]
        assert any(each.get("CidrIp") == "0.0.0.0/0" for each in leading) is task.egress
        into = {
            each["SourceSecurityGroupId"]
            for each in rules
            if each["GroupId"] == f"sg-{logical_id(task.name)}Group"
        }
        # Between tasks there is nothing.
        assert into <= {"sg-MonitoringGroup", "sg-DoorGroup"}


def test_what_is_loaded_by_the_broker_is_what_the_model_grants(tmp_path):
    service = Service("orders", calls=["stock.reserve"], emits=["order.placed"])
    source = Source(Image(HERE / "orders", HERE / "orders/app.py"), service)
    deployment = plan_deployment([source], DeployConfig(), "shop", joins=True)
    list(write_service_secrets(tmp_path / "secrets", deployment.rights))
    loaded = json.loads((tmp_path / "secrets/definitions.json").read_text())["permissions"]
    assert [(each["user"], each["write"]) for each in loaded] == [
        (each.user, each.write) for each in deployment.permissions
    ]
