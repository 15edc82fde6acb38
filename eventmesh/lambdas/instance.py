"""An instance that runs a Lambda function: it asks for each invocation, and sends its result."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from eventmesh.instances.lifecycle import Instance, Run, State, Surroundings
from eventmesh.lambdas.events import build_event
from eventmesh.lambdas.function import LambdaFunction
from eventmesh.lambdas.owner import is_connected_by
from eventmesh.lambdas.results import read_error, read_result
from eventmesh.lambdas.runtime_api import ACCEPTED, Answer, RuntimeApi, refusal
from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.invocation import Invocation

_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,255}")
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{8})([0-9a-f]{24})-([0-9a-f]{16})-([0-9a-f]{2})")
_MEBIBYTE: Final = 2**20
_NEVER: Final = 366 * 86400.0
"""Seconds that a run without a deadline is told that it has left: clients want a number."""

_Giver: TypeAlias = Callable[[Answer], None]


class LambdaInstance(Instance):
    """A process that speaks the Runtime API, and runs one invocation at a time."""

    def __init__(self, function: LambdaFunction, around: Surroundings) -> None:
        super().__init__(function.spec, around)
        self._function = function
        self._log = logging.getLogger(f"eventmesh.function.{function.full_name}")
        self._give: _Giver | None = None
        self._pending: tuple[int, Run] | None = None
        self._current: _Current | None = None
        self._port = 0
        self._started = around.clock.monotonic()
        self._init: float | None = None

    async def listen(self) -> str:
        """Open its Runtime API, and return the address."""
        self._api = RuntimeApi(self)
        address = await self._api.open()
        self._port = int(address.rpartition(":")[2])
        self.start_timer()
        return address

    def close(self) -> None:
        self._api.close()

    @property
    def max_response(self) -> int:
        return self._spec.limits.max_payload

    def owns(self, peer: tuple[str, int]) -> bool:
        return is_connected_by(self.pid, peer, self._port)

    def next(self, give: _Giver) -> None:
        """Take a runtime's question for the next invocation: it has ended the one before."""
        self._end_current()
        self._give = give
        if self._init is None:
            self._init = self._clock.monotonic() - self._started
        self._become_ready()
        self._hand_over()

    def respond(self, id: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        current = self._current
        if current is None or current.id != id or current.run.result.done():
            return _unknown(id)
        kind = headers.get("lambda-runtime-function-error-type", "")
        if kind:  # It began to stream, and failed.
            text = headers.get("lambda-runtime-function-error-body", "")
            current.run.fail(read_error(text.encode(), kind))
            return ACCEPTED
        content_type = headers.get("content-type", "")
        result = read_result(current.run.invocation, body, content_type)
        current.run.result.set_result(result)
        return ACCEPTED

    def refuse_response(self, id: str, size: int) -> Answer:
        current = self._current
        if current is None or current.id != id:
            return _unknown(id)
        current.run.fail(PayloadTooLarge(size, self.max_response))
        message = f"Exceeded maximum allowed payload size ({self.max_response} bytes)."
        return refusal(413, "RequestEntityTooLarge", message)

    def fail(self, id: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        current = self._current
        if current is None or current.id != id or current.run.result.done():
            return _unknown(id)
        kind = headers.get("lambda-runtime-function-error-type", "")
        current.run.fail(read_error(body, kind))
        return ACCEPTED

    def fail_init(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self.state is State.STARTING:
            kind = headers.get("lambda-runtime-function-error-type", "")
            self.failure = read_error(body, kind)
        return ACCEPTED

    def _begin(self, number: int, run: Run) -> None:
        self._pending = (number, run)
        self._hand_over()

    def _cancel(self, number: int) -> bool:
        del number  # The Runtime API has no way to say it.
        return False

    def _ask_stop(self) -> bool:
        return False

    def _disconnect(self) -> None:
        self._end_current()
        self._api.close()

    def _hand_over(self) -> None:
        if self._give is None or self._pending is None:
            return
        give, self._give = self._give, None
        (number, run), self._pending = self._pending, None
        invocation = run.invocation
        current = self._current = _Current(number, run, self._clock.monotonic())
        self._write(f"START RequestId: {current.id} Version: $LATEST", current)
        give(Answer(200, build_event(invocation), self._headers(current)))

    def _headers(self, current: _Current) -> list[tuple[str, str]]:
        invocation = current.run.invocation
        left = _NEVER
        if invocation.deadline is not None:
            left = invocation.deadline - self._clock.monotonic()
        ends = self._clock.now() + left
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", current.id),
            ("Lambda-Runtime-Deadline-Ms", str(round(ends * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", self._function.arn),
        ]
        trace = _TRACEPARENT.fullmatch(invocation.headers.get("traceparent", ""))
        if trace is not None:
            sampled = int(trace[4], 16) & 1
            text = f"Root=1-{trace[1]}-{trace[2]};Parent={trace[3]};Sampled={sampled}"
            headers.append(("Lambda-Runtime-Trace-Id", text))
        return headers

    def _end_current(self) -> None:
        current, self._current = self._current, None
        if current is None:
            return
        duration = (self._clock.monotonic() - current.began) * 1000
        memory = self._spec.isolation and self._spec.isolation.memory
        parts = [
            f"REPORT RequestId: {current.id}",
            f"Duration: {duration:.2f} ms",
            f"Billed Duration: {math.ceil(duration)} ms",
            f"Memory Size: {(memory or 0) // _MEBIBYTE} MB",
            f"Max Memory Used: {(self._group.peak() or self.peak) // _MEBIBYTE} MB",
        ]
        if self.begun == 1 and self._init is not None:
            parts.append(f"Init Duration: {self._init * 1000:.2f} ms")
        self._write(f"END RequestId: {current.id}", current)
        self._write("\t".join(parts) + "\t", current)
        if current.number in self._runs and current.run.result.done():
            self._end_run(current.number)

    def _write(self, text: str, current: _Current) -> None:
        invocation = current.run.invocation
        fields = {"function": invocation.function, "invocation_id": invocation.id}
        self._log.info("%s", text, extra=fields | {"attempt": invocation.attempt})


class _Current:
    """The run that the process has been given."""

    __slots__ = ("began", "id", "number", "run")

    def __init__(self, number: int, run: Run, began: float) -> None:
        self.number = number
        self.run = run
        self.began = began
        self.id = _request_id(run.invocation)


def _request_id(invocation: Invocation) -> str:
    """Return the id of an invocation; another one, if that could not stand in a header."""
    if _PLAIN_ID.fullmatch(invocation.id):
        return invocation.id
    return hashlib.sha256(invocation.id.encode(errors="replace")).hexdigest()[:32]


def _unknown(id: str) -> Answer:
    return refusal(400, "InvalidRequestID", f"no invocation {id[:100]} is under way")
