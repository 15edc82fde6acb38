"""The dashboard and the alert rules of deploy/observability name metrics that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.exposition import generate_latest

from eventmesh.middleware.metrics import WATCHED, Metrics
from eventmesh.model.errors import FunctionError
from eventmesh.model.invocation import ASYNC, Invocation
from eventmesh.model.result import Result
from eventmesh.observability.aggregation import AggregatedMetrics
from eventmesh.processes.supervisor import count_restarts
from eventmesh.testing.clock import ManualClock

FOLDER = Path(__file__).parents[3] / "deploy" / "observability"
NAME = re.compile(r"eventmesh_\w+")
STRINGS = re.compile(r'"[^"]*"')


@pytest.fixture
async def names():
    """The names of all samples that a process and its supervisor have, and the labels of each."""
    clock = ManualClock()
    metrics = Metrics(clock)
    for name in WATCHED:
        metrics.gauge(name, "shop.sell", lambda: 1.0)

    async def fail(_):
        return Result(error=FunctionError("ValueError", "no"))

    run = metrics.measure("shop.sell")(fail)
    await run(Invocation("shop.sell", "id", b"", clock.now(), mode=ASYNC))
    supervisor = AggregatedMetrics({"": count_restarts({1: 0})})
    text = (generate_latest(metrics.registry) + generate_latest(supervisor)).decode()
    return {
        name: set(re.findall(r'(\w+)="', labels or ""))
        for name, labels in re.findall(r"^(eventmesh_\w+)(?:\{(.*)\})? ", text, re.MULTILINE)
    }


def rules():
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels():
    return json.loads((FOLDER / "dashboard.json").read_text())["panels"]


def expressions():
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def test_all_metrics_are_there(names):
    used = {name for text in expressions() for name in NAME.findall(STRINGS.sub("", text))}
    assert used
    assert used <= names.keys()


def test_all_labels_are_there(names):
    known = {label for labels in names.values() for label in labels}
    used = {
        label
        for text in expressions()
        for labels in re.findall(r"by \(([^)]*)\)", text)
        for label in labels.split(", ")
    }
    assert used <= known


def test_each_alert_says_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description"}
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_no_two_panels_are_in_one_place():
    places = [tuple(sorted(panel["gridPos"].items())) for panel in panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels()}) == len(panels())
