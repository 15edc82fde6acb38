import json
import os
import sys

import pytest

from eventmesh.clusters.abc import ClusterError, ClusterUnavailable
from eventmesh.clusters.kubernetes import Kubernetes

KUBECTL = """#!{python}
# A kubectl whose cluster is a file: what it was told is written behind it.
import json, sys
arguments, given = sys.argv[1:], sys.stdin.read()
state = json.load(open({state!r}))
state["told"].append([arguments, json.loads(given) if given else None])
json.dump(state, open({state!r}, "w"))
if state["refuse"]:
    sys.exit(state["refuse"])
if "get" in arguments:
    what = arguments[3].partition("/")[2]
    found = [each for each in state["deployments"] if each["metadata"]["name"] == what]
    print(json.dumps(found[0] if what else {{"items": state["deployments"]}}))
"""


def deployment(name, replicas=3, image="shop:1", annotations=None, status=None):
    container = {"name": "main", "image": image, "env": [{"name": "A", "value": "1"}]}
    labels = {"app": "shop"}
    return {
        "metadata": {"name": name, "generation": 4, "annotations": annotations or {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
        "status": status or {},
    }


class Told:
    """The cluster of the fake kubectl, and what that was told."""

    def __init__(self, folder):
        self.file = folder / "state.json"
        self.write(deployments=[], told=[], refuse="")
        self.command = folder / "kubectl"
        self.command.write_text(KUBECTL.format(python=sys.executable, state=str(self.file)))
        os.chmod(self.command, 0o755)  # noqa: PTH101 - it is a command

    def write(self, **fields):
        known = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.file.write_text(json.dumps({**known, **fields}))

    @property
    def told(self):
        return json.loads(self.file.read_text())["told"]


@pytest.fixture
def kubectl(tmp_path):
    return Told(tmp_path)


@pytest.fixture
def cluster(kubectl):
    return Kubernetes("stack", str(kubectl.command))


async def test_services_are_deployments_and_canaries_belong_to_them(cluster, kubectl):
    notes = {"eventmesh.canary.of": "shop", "eventmesh.canary.note.replicas": "3"}
    kubectl.write(
        deployments=[
            deployment(
                "shop",
                annotations={"eventmesh.autoscale": "0..3"},
                status={"readyReplicas": 2},
            ),
            deployment("shop-canary", 1, "shop:2", notes),
        ]
    )
    (shop,) = (await cluster.services()).values()
    assert (shop.name, shop.replicas, shop.running, shop.image) == ("shop", 3, 2, "shop:1")
    assert shop.labels == {"autoscale": "0..3"}
    assert (shop.canary.image, shop.canary.notes) == ("shop:2", {"replicas": "3"})
    assert kubectl.told[0][0][:2] == ["--namespace", "stack"]


async def test_a_canary_has_the_labels_of_its_service_and_one_of_its_own(cluster, kubectl):
    kubectl.write(deployments=[deployment("shop")])
    await cluster.start_canary("shop", "shop:2", "two", 1, {"replicas": "3"})
    arguments, applied = kubectl.told[-1]
    assert arguments[2:] == ["apply", "--filename", "-"]
    assert applied["metadata"]["name"] == "shop-canary"
    spec = applied["spec"]
    assert spec["replicas"] == 1
    labels = {"app": "shop", "eventmesh-version": "canary"}
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == labels
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == "shop:2"
    assert {"name": "EVENTMESH_REVISION", "value": "two"} in container["env"]


async def test_an_update_changes_the_image_and_the_revision(cluster, kubectl):
    kubectl.write(deployments=[deployment("shop")])
    await cluster.update("shop", "shop:2", "two")
    arguments, _ = kubectl.told[-1]
    (container,) = json.loads(arguments[-1])["spec"]["template"]["spec"]["containers"]
    assert container == {
        "name": "main",
        "image": "shop:2",
        "env": [{"name": "EVENTMESH_REVISION", "value": "two"}],
    }


@pytest.mark.parametrize(
    ("status", "stage"),
    [
        ({"observedGeneration": 3, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}, 0),
        ({"observedGeneration": 4, "updatedReplicas": 1, "replicas": 4, "availableReplicas": 3}, 0),
        ({"observedGeneration": 4, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}, 1),
        ({"conditions": [{"type": "Progressing", "status": "False", "message": "late"}]}, 2),
    ],
)
async def test_how_far_an_update_is(cluster, kubectl, status, stage):
    found = deployment("shop", image="shop:2", status=status)
    (container,) = found["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "EVENTMESH_REVISION", "value": "two"}]
    kubectl.write(deployments=[found])
    update = await cluster.find_update("shop", "two")
    assert update.stage == ("rolling", "done", "failed")[stage]
    assert (await cluster.find_update("shop", "three")).stage == "failed"


async def test_idle_pods_are_the_cheapest_to_delete(cluster, kubectl):
    await cluster.scale("shop", 1, {"pod-1"})
    told = [arguments[2:] for arguments, _ in kubectl.told]
    assert told[0][:3] == ["annotate", "pod", "pod-1"]
    assert told[1] == ["scale", "deployment/shop", "--replicas=1"]
    await cluster.stop_canary("shop")
    assert kubectl.told[-1][0][2:5] == ["delete", "deployment", "shop-canary"]


async def test_refusals_and_absence_are_told_apart(cluster, kubectl, tmp_path):
    kubectl.write(refuse='deployments.apps "shop" not found')
    with pytest.raises(ClusterError, match="not found") as refused:
        await cluster.services()
    assert not isinstance(refused.value, ClusterUnavailable)
    kubectl.write(refuse="Unable to connect to the server: dial tcp: connection refused")
    with pytest.raises(ClusterUnavailable):
        await cluster.services()
    with pytest.raises(ClusterUnavailable, match="install it"):
        await Kubernetes("stack", str(tmp_path / "none")).services()
