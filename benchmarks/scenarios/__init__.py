"""What is measured: one module each, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmarks.scenario import Scenario
from benchmarks.scenarios import (
    alone,
    auth,
    cluster,
    consume,
    durable,
    embedded,
    footprint,
    http_echo,
    instances,
    outbox,
    payloads,
    publish,
    request,
    scaled,
    workers,
)

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "consume": consume.SCENARIO,
    "request": request.SCENARIO,
    "publish": publish.SCENARIO,
    "http": http_echo.SCENARIO,
    "durable": durable.SCENARIO,
    "sleeping": durable.ASLEEP,
    "outbox": outbox.SCENARIO,
    "crowded": outbox.CROWDED,
    "auth": auth.SCENARIO,
    "workers": workers.SCENARIO,
    "payloads": payloads.SCENARIO,
    "limits": alone.LIMITS,
    "cluster": cluster.SCENARIO,
    "waiting": alone.WAITING,
    "fanout": alone.FAN_OUT,
    "delay": alone.DELAY,
    "functions": alone.FUNCTIONS,
    "timers": alone.TIMERS,
    "growth": alone.GROWTH,
    "footprint": footprint.SCENARIO,
    "embedded": embedded.SCENARIO,
    "instances": instances.SCENARIO,
    "replica": scaled.REPLICA,
    "passing": scaled.PASSING,
}
