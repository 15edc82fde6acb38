"""What is measured: one module each, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmarks.scenario import Scenario
from benchmarks.scenarios import (
    alone,
    auth,
    consume,
    embedded,
    footprint,
    http_echo,
    payloads,
    publish,
    request,
    workers,
)

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "consume": consume.SCENARIO,
    "request": request.SCENARIO,
    "publish": publish.SCENARIO,
    "http": http_echo.SCENARIO,
    "auth": auth.SCENARIO,
    "workers": workers.SCENARIO,
    "payloads": payloads.SCENARIO,
    "waiting": alone.WAITING,
    "fanout": alone.FAN_OUT,
    "delay": alone.DELAY,
    "functions": alone.FUNCTIONS,
    "timers": alone.TIMERS,
    "growth": alone.GROWTH,
    "footprint": footprint.SCENARIO,
    "embedded": embedded.SCENARIO,
}
