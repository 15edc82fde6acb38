"""The lines that frame each run in the log of a Lambda function: START, END and REPORT.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html; as JSON, they are the
events that the Telemetry API has, too
(https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html).
"""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from typing import Any, Final, cast

import orjson

from eventmesh.lambdas.function import LambdaFunction
from eventmesh.lambdas.running import Current
from eventmesh.model.value import value

VERSION: Final = "$LATEST"


@value
class Report:
    """What is told of a run that has ended: milliseconds, megabytes of 2**20, and how it ended.

    `init` is None unless it was the first one of its instance. `status` is as in the Telemetry API:
    "success", "failure", "error" or "timeout".
    """

    duration: float
    memory: int
    peak: int
    init: float | None
    status: str = "success"


class FunctionLog:
    """Writes to the log of one function, and to the tails that callers have asked for."""

    def __init__(self, function: LambdaFunction) -> None:
        self._log = logging.getLogger(f"eventmesh.function.{function.full_name}")
        self._is_json = function.log_format == "JSON"

    def start(self, current: Current, now: float) -> None:
        """Write that a run has begun; `now` is in seconds since the epoch."""
        if self._is_json:
            record = {"requestId": current.id, "version": VERSION}
            text = _dump("platform.start", record, now)
        else:
            text = f"START RequestId: {current.id} Version: {VERSION}"
        self._write(text, current)
        _add_to_tail(text, current)

    def note(self, text: str, current: Current) -> None:
        """Write why a run has failed."""
        self._write(text, current)
        _add_to_tail(text, current)

    def report(self, current: Current, report: Report, now: float) -> None:
        """Write that a run has ended."""
        for line in self._report_lines(current, report, now):
            self._write(line, current)

    def complete_tail(self, current: Current, report: Report, now: float) -> None:
        """Write the same to the tail that the caller gets, who does not wait for `report`."""
        if current.run.invocation.log_tail is not None:
            for line in self._report_lines(current, report, now):
                _add_to_tail(line, current)

    def _report_lines(self, current: Current, report: Report, now: float) -> list[str]:
        if self._is_json:
            return [_dump("platform.report", report_record(current.id, report), now)]
        parts = [
            f"REPORT RequestId: {current.id}",
            f"Duration: {report.duration:.2f} ms",
            f"Billed Duration: {math.ceil(report.duration)} ms",
            f"Memory Size: {report.memory} MB",
            f"Max Memory Used: {report.peak} MB",
        ]
        if report.init is not None:
            parts.append(f"Init Duration: {report.init:.2f} ms")
        if report.status in ("timeout", "error"):
            parts.append(f"Status: {report.status}")
        return [f"END RequestId: {current.id}", "\t".join(parts) + "\t"]

    def _write(self, text: str, current: Current) -> None:
        invocation = current.run.invocation
        fields = {"function": invocation.function, "invocation_id": invocation.id}
        self._log.info("%s", text, extra=fields | {"attempt": invocation.attempt})


def report_record(id: str, report: Report) -> dict[str, Any]:
    """Return the record of `platform.report`."""
    metrics: dict[str, Any] = {
        "durationMs": round(report.duration, 3),
        "billedDurationMs": math.ceil(report.duration),
        "memorySizeMB": report.memory,
        "maxMemoryUsedMB": report.peak,
    }
    if report.init is not None:
        metrics["initDurationMs"] = round(report.init, 3)
    return {"requestId": id, "metrics": metrics, "status": report.status}


_LEVELS: Final = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "CRITICAL": logging.CRITICAL,
}


def read_line(line: bytes) -> tuple[str, int]:
    """Return the request id that a line of JSON names, "" if none, and its level, or INFO."""
    try:
        parsed: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return "", logging.INFO
    fields = cast(dict[str, Any], parsed) if isinstance(parsed, dict) else {}
    level = _LEVELS.get(str(fields.get("level", "")).upper(), logging.INFO)
    return str(fields.get("requestId", "")), level


def format_time(now: float) -> str:
    """Return a time as AWS writes it: "2026-01-01T00:00:00.000Z"."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _dump(kind: str, record: dict[str, Any], now: float) -> str:
    return orjson.dumps({"time": format_time(now), "type": kind, "record": record}).decode()


def _add_to_tail(text: str, current: Current) -> None:
    if current.run.invocation.log_tail is not None:
        current.run.invocation.log_tail.add(text.encode())
