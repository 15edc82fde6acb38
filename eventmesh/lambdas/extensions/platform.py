"""What AWS Lambda's platform is to an instance: it tells extensions what happens, and waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from eventmesh.aio.clock import Clock
from eventmesh.lambdas.api.server import Reply, Request
from eventmesh.lambdas.extensions.processes import Control
from eventmesh.lambdas.extensions.registry import ROOT, Extension, Extensions
from eventmesh.lambdas.extensions.telemetry import LOGS, TELEMETRY, Telemetry
from eventmesh.lambdas.function import LambdaFunction
from eventmesh.lambdas.log import VERSION, Report, report_record
from eventmesh.lambdas.running import Current, find_deadline_ms, find_trace
from eventmesh.model.errors import FunctionError

_INIT: Final[Mapping[str, str]] = {"initializationType": "on-demand", "phase": "init"}
INTERNAL_TIMEOUT: Final = 0.5
EXTERNAL_TIMEOUT: Final = 2.0
"""Seconds in which an instance with internal extensions alone, or with external ones, must end
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html)."""


class Platform:
    """The extensions of one instance, and its telemetry."""

    def __init__(
        self,
        function: LambdaFunction,
        programs: Sequence[str],
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        is_listening: Callable[[int], bool],
        on_change: Callable[[], object],
        on_error: Callable[[FunctionError], object],
    ) -> None:
        """`programs` are the extensions that the instance starts.

        The rest is as for `Extensions` and `Telemetry`.
        """
        self._function = function
        self._clock = clock
        self._names = [Path(program).name for program in programs]
        self._telemetry = Telemetry(clock, tasks, is_listening)
        self._on_change = on_change
        self._on_error = on_error
        self.control: Control | None = None
        self._has_started = False
        self._stopping = False
        self._extensions = Extensions(
            function,
            self._names,
            on_change=self._take_change,
            on_register=self._tell_registered,
            on_error=on_error,
        )

    @property
    def is_idle(self) -> bool:
        """Whether no extension is busy with what it was told."""
        return self._extensions.are_idle

    def answer(self, request: Request, reply: Reply) -> bool:
        """Answer a request to the Extensions, Telemetry or Logs API. Returns whether it is one."""
        if request.path.startswith(ROOT):
            self._extensions.answer(request, reply)
        elif request.path in (TELEMETRY, LOGS):
            self._telemetry.answer(request, self._extensions.find(request), reply)
        else:
            return False
        return True

    def _take_change(self) -> None:
        if self.control is not None and not self._has_started and self._extensions.have_registered:
            self._has_started = True
            self.control.start()
        self._on_change()

    def _tell_registered(self, extension: Extension) -> None:
        record = {"name": extension.name, "state": "Registered", "events": sorted(extension.events)}
        self._telemetry.emit("platform", "platform.extension", record)

    def take_end(self, number: int, code: int) -> None:
        """Take note that an extension has ended, or the runtime, of an instance that has both."""
        if number >= 0 and not self._stopping:
            name = self._names[number] if number < len(self._names) else "an extension"
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            self._on_error(FunctionError("Extension.Crash", f"{name} ended: {how}"))
        elif number < 0 and self._stopping:
            self._telemetry.flush()
            deadline = round((self._clock.now() + EXTERNAL_TIMEOUT) * 1000)
            self._extensions.shut_down("spindown", deadline)

    def stop(self) -> float | None:
        """Take note that the instance is to end.

        Returns the seconds that it has for that; None if nobody is there who cares.
        """
        self._stopping = True
        self._telemetry.flush()
        if not len(self._extensions):
            return None
        return EXTERNAL_TIMEOUT if self._extensions.has_external else INTERNAL_TIMEOUT

    def close(self) -> None:
        """Let go of what is left: the instance has ended."""
        self._telemetry.close()
        if self.control is not None:
            self.control.close()

    def take_line(self, line: bytes) -> None:
        """Tell of a line that the function has written."""
        if self._telemetry.is_wanted:
            self._telemetry.emit("function", "function", self._read(line))

    def take_extension_line(self, line: bytes) -> None:
        """Tell of a line that an extension has written."""
        if self._telemetry.is_wanted:
            self._telemetry.emit("extension", "extension", line.decode(errors="replace"))

    def _read(self, line: bytes) -> Any:
        if self._function.log_format == "JSON" and line.startswith(b"{"):
            try:
                return orjson.loads(line)
            except orjson.JSONDecodeError:
                pass
        return line.decode(errors="replace") + "\n"

    def _emit(self, name: str, record: Mapping[str, Any]) -> None:
        self._telemetry.emit("platform", f"platform.{name}", record)

    def begin_init(self) -> None:
        """Tell that the instance starts."""
        function = self._function
        names = {"functionName": function.full_name, "functionVersion": VERSION}
        self._emit("initStart", {**_INIT, **names, "runtimeVersion": function.runtime})

    def end_runtime_init(self) -> None:
        """Tell that the runtime asks for its first invocation."""
        self._emit("initRuntimeDone", {**_INIT, "status": "success"})

    def end_init(self, seconds: float) -> None:
        """Tell that the instance is ready."""
        metrics = {"durationMs": round(seconds * 1000, 3)}
        self._emit("initReport", {**_INIT, "status": "success", "metrics": metrics})
        self._extensions.is_open = False
        self._telemetry.complete_start()

    def start(self, current: Current) -> None:
        """Tell that a run begins."""
        trace = find_trace(current.run.invocation)
        tracing = {"tracing": {"type": "X-Amzn-Trace-Id", "value": trace}} if trace else {}
        self._emit("start", {"requestId": current.id, "version": VERSION, **tracing})
        self._extensions.invoke(
            {
                "deadlineMs": find_deadline_ms(current, self._clock),
                "requestId": current.id,
                "invokedFunctionArn": self._function.arn,
                "tracing": {"type": "X-Amzn-Trace-Id", "value": trace},
            }
        )

    def end_runtime(self, current: Current, report: Report) -> None:
        """Tell that the runtime has done what a run asks of it."""
        metrics = {"durationMs": round(report.duration, 3)}
        record = {"requestId": current.id, "status": report.status, "metrics": metrics}
        self._emit("runtimeDone", record)

    def end(self, current: Current, report: Report) -> None:
        """Tell that a run has ended."""
        self._emit("end", {"requestId": current.id})
        self._emit("report", report_record(current.id, report))
