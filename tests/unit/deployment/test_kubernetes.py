"""What `eventmesh export kubernetes` writes, against the schemas of Kubernetes itself."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from exported_services import ORDERS, STOCK

from eventmesh.cli.main import cli

# The three newest that kubernetes-validate has.
VERSIONS = ("1.37.0", "1.36.0", "1.35.0")
CUSTOM = ("keda.sh/v1alpha1", "rabbitmq.com/v1beta1", "gateway.networking.k8s.io/v1")
SETTINGS = (
    "name=shop",
    "registry=images.example/shop",
    "domain=shop.example",
    "services.stock.minimum=0",
    "services.stock.egress=false",
    "services.stock.store=stock-db",
)


@pytest.fixture
def export(write):
    write("orders/app.py", ORDERS)
    write("stock/app.py", STOCK)

    def export(*settings, arguments=(), code=0):
        given = [word for each in (*SETTINGS, *settings) for word in ("--set", each)]
        command = ["export", "kubernetes", "orders", "stock", *given, *arguments]
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == code, result.output
        return result.stderr if code else result.stdout

    return export


@pytest.fixture
def validator():
    # Only who runs these tests waits until it has read all its grammars.
    import kubernetes_validate

    return kubernetes_validate


def objects(text):
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("kubernetes.autoscaler=hpa", "kubernetes.ingress=gateway", "rabbitmq.nodes=3"),
        ("kubernetes.autoscaler=none", "kubernetes.ingress=none"),
        (
            "broker=amqps://mq.example/shop",
            "kubernetes.broker_namespace=mq",
            "kubernetes.pull_secret=pull",
            "kubernetes.tls_secret=door",
            "kubernetes.ingress_class=nginx",
        ),
    ],
)
def test_kubernetes_takes_them(export, validator, settings):
    found = objects(export(*settings)).values()
    checked = [each for each in found if each["apiVersion"] not in CUSTOM]
    assert len(checked) > 10
    for each in checked:
        for version in VERSIONS if not settings else VERSIONS[:1]:
            validator.validate(each, version, strict=True)


def test_the_newest_versions_are_the_ones_that_are_tried(validator):
    assert validator.latest_version() == VERSIONS[0]


def test_a_pod_has_no_rights_and_its_time_to_stop(export):
    found = objects(export())
    deployment = found["Deployment", "order-desk"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] == 70
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert pod["automountServiceAccountToken"] is False
    assert found["ServiceAccount", "order-desk"]["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
    (secrets,) = (each["projected"] for each in pod["volumes"] if "projected" in each)
    # The object's name has no capitals, the user of RabbitMQ has.
    assert [each["secret"]["name"] for each in secrets["sources"]] == ["order-desk", "ca.pem"]
    assert secrets["sources"][0]["secret"]["items"] == [{"key": "Order_Desk", "path": "Order_Desk"}]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["EVENTMESH_BROKER"].startswith("amqps://Order_Desk@rabbitmq/")
    assert "replicas" not in deployment


def test_queues_scale_also_from_none(export):
    found = objects(export())
    orders = found["ScaledObject", "order-desk"]["spec"]
    stock = found["ScaledObject", "stock"]["spec"]
    queues = {
        each["metadata"]["queueName"]: each["metadata"]["value"] for each in stock["triggers"]
    }
    assert queues == {"em.inbox.stock.reserve": "10", "deliveries": "10"}
    assert (stock["minReplicaCount"], orders["minReplicaCount"]) == (0, 1)
    assert "em.rpc.Order_Desk.place" in [
        each["metadata"]["queueName"] for each in orders["triggers"]
    ]
    assert found["HorizontalPodAutoscaler", "gateway"]["spec"]["maxReplicas"] == 10
    host = found["ConfigMap", "keda"]["data"]["host"]
    assert host == "amqps://rabbitmq.shop.svc:5671/%2F"


def test_nothing_there_starts_a_first_task_for_callers_of_a_route(export):
    told = export("services.Order_Desk.minimum=0", code=2)
    assert "Order_Desk cannot be scaled to zero on Kubernetes: Order_Desk.place serves POST" in told


def test_keda_takes_its_objects(export):
    import jsonschema

    schemas = json.loads((Path(__file__).parent / "keda-crds.json").read_text())["schemas"]
    found = [each for each in objects(export()).values() if each["kind"] in schemas]
    assert {each["kind"] for each in found} == set(schemas)
    for each in found:
        jsonschema.validate(each["spec"], schemas[each["kind"]])


def test_there_is_one_door(export):
    found = objects(export())
    stock = found["NetworkPolicy", "stock"]["spec"]
    assert [each["ports"][0]["port"] for each in stock["ingress"]] == [9464]
    assert len(stock["egress"]) == 2
    gateway = found["NetworkPolicy", "gateway"]["spec"]
    assert [each["ports"][0]["port"] for each in gateway["ingress"]] == [8080, 9464]
    assert {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]} in gateway[
        "egress"
    ]
    assert [name for kind, name in found if kind == "Service"] == ["gateway"]
    (rule,) = found["Ingress", "gateway"]["spec"]["rules"]
    assert rule["host"] == "shop.example"


def test_two_services_of_one_object(export, write):
    write("stock/app.py", STOCK.replace('"stock"', '"order-desk"'))
    told = export(code=2, arguments=("--set", "services={}"))
    assert "would both be 'order-desk' on Kubernetes" in told


def test_a_kustomization_makes_the_secrets(export, project):
    told = export(arguments=("--output", "k8s"))
    assert "kubectl apply --kustomize k8s" in told
    password = (project / "k8s/secrets/stock").read_text()
    assert not [file for file in (project / "k8s").glob("*.yaml") if password in file.read_text()]
    kustomization = yaml.safe_load((project / "k8s/kustomization.yaml").read_text())
    made = {each["name"]: each["files"] for each in kustomization["secretGenerator"]}
    assert made["order-desk"] == ["secrets/Order_Desk"]
    assert made["stock-db"] == ["secrets/stock-db"]
    assert {file.name for file in (project / "k8s").glob("*.yaml")} == {
        *kustomization["resources"],
        "kustomization.yaml",
    }
    text = subprocess.run(
        ["openssl", "x509", "-in", "k8s/secrets/rabbitmq.pem", "-noout", "-ext", "subjectAltName"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert "DNS:rabbitmq, DNS:rabbitmq.shop, DNS:rabbitmq.shop.svc" in text
