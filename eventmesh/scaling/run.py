"""Runs the autoscaler: opens the mesh and the cluster, and scales until told to stop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from eventmesh.aio.clock import SystemClock
from eventmesh.aio.tasks import background_task
from eventmesh.client.mesh import open_mesh
from eventmesh.clusters.abc import LABEL, ClusterService
from eventmesh.clusters.labels import CALM_LABEL, LATENCY_LABEL, RANGE_LABEL
from eventmesh.clusters.registry import Kind, open_cluster
from eventmesh.model.duration import seconds
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.settings import Settings
from eventmesh.model.topology import check_service
from eventmesh.model.value import value
from eventmesh.observability.admin import admin_server
from eventmesh.observability.logs import configure_logging
from eventmesh.processes.stop_signals import on_stop_signals
from eventmesh.scaling.autoscaler import Autoscaler, FindRule, Options
from eventmesh.scaling.reader import MeshReader
from eventmesh.scaling.report import Report
from eventmesh.scaling.rule import Rule
from eventmesh.scaling.stand_ins import stand_in_for

_RANGE: Final = re.compile(r"(\d{1,6})\.\.(\d{1,6})")


@value
class Choices:
    """What the command was told; durations are seconds."""

    services: Sequence[str]
    engine: str
    project: str
    latency: float
    calm: float
    utilisation: float
    every: float
    dry_run: bool


def build_rules(choices: Choices) -> FindRule:
    """Return what finds the rule of a service. Raises SettingsError."""
    given = dict(map(_read_choice, choices.services))

    def build(bounds: tuple[int, int], latency: float, calm: float) -> Rule:
        minimum, maximum = bounds
        # Figures are read at every look, and a look that fails is no look.
        stale = max(10.0, 3 * choices.every)
        return Rule(minimum, maximum, latency, choices.utilisation, calm, stale)

    rules: Mapping[str, Rule] = {
        name: build(bounds, choices.latency, choices.calm) for name, bounds in given.items()
    }

    def find(service: ClusterService) -> Rule | None:
        if rules:
            return rules.get(service.name)
        text = service.labels.get(RANGE_LABEL)
        if text is None:
            return None
        return build(
            read_range(text, service.name),
            _read_duration(service, LATENCY_LABEL, choices.latency),
            _read_duration(service, CALM_LABEL, choices.calm),
        )

    return find


def _read_choice(text: str) -> tuple[str, tuple[int, int]]:
    name, _, bounds = text.partition("=")
    try:
        check_service(name)
    except DeclarationError as error:
        raise SettingsError(f"{text!r} is not SERVICE=MIN..MAX: {error}") from None
    return name, read_range(bounds, name)


def read_range(text: str, service: str) -> tuple[int, int]:
    """Read a range of replicas, "0..10". Raises SettingsError."""
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise SettingsError(
            f"{service}: {text!r:.99} is no range of replicas: write MIN..MAX, such as 0..10"
        )
    return int(found[1]), int(found[2])


def _read_duration(service: ClusterService, label: str, otherwise: float) -> float:
    text = service.labels.get(label)
    if text is None:
        return otherwise
    try:
        return seconds(text, label.rpartition(".")[2])
    except DeclarationError as error:
        raise SettingsError(f"{service.name}: the label {LABEL}.{label}: {error}") from None


async def autoscale(choices: Choices, settings: Settings) -> None:
    """Scale until SIGINT or SIGTERM. What runs stays as it is then.

    Raises SettingsError, BrokerUnavailable if the broker cannot be reached at first, and
    ClusterError if the cluster cannot.
    """
    configure_logging(settings.log_format, settings.log_level)
    find_rule = build_rules(choices)
    clock, report = SystemClock(), Report(dry_run=choices.dry_run)
    async with (
        admin_server(settings.admin_host, settings.admin_port, report),
        open_cluster(cast(Kind, choices.engine), choices.project) as cluster,
        open_mesh(settings.broker_address, "autoscale") as (broker, observer),
        stand_in_for(broker, observer, clock) as stand_ins,
    ):
        autoscaler = Autoscaler(
            MeshReader(broker, observer, clock),
            cluster,
            stand_ins,
            find_rule=find_rule,
            clock=clock,
            report=report,
            options=Options(choices.every, choices.dry_run),
        )
        stopped = asyncio.Event()
        with on_stop_signals(lambda _: stopped.set()):
            async with background_task(autoscaler.run()):
                await stopped.wait()
