"""The run that a process of an instance has been given, and how the process is told of it."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from eventmesh.aio.clock import Clock
from eventmesh.executions.messages.contents import TENANT_HEADER
from eventmesh.instances.lifecycle import Run
from eventmesh.lambdas.function import LambdaFunction
from eventmesh.model.invocation import Invocation

_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,255}")
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{8})([0-9a-f]{24})-([0-9a-f]{16})-([0-9a-f]{2})")
_TENANT: Final = re.compile(r"[a-zA-Z0-9._:/=+@ -]{1,256}")
_NEVER: Final = 366 * 86400.0
"""Seconds that a run without a deadline is told that it has left: clients want a number."""


class Current:
    """A run that a process has been given, under the id that the process knows it by."""

    __slots__ = ("answered", "began", "id", "number", "owner", "run")

    def __init__(self, number: int, run: Run, began: float, owner: int) -> None:
        """`owner` is the process that has asked for it."""
        self.owner = owner
        self.number = number
        self.run = run
        self.began = began
        self.id = _request_id(run.invocation)
        self.answered = False

    @property
    def status(self) -> str:
        """How it has ended, as the Telemetry API has it."""
        return "success" if self.run.failure is None else "error"

    def is_with(self, owner: int) -> bool:
        """Whether that process has not answered it yet."""
        return self.owner == owner and not self.run.result.done()


def _request_id(invocation: Invocation) -> str:
    """Return the id of an invocation; another one, if that could not stand in a header."""
    if _PLAIN_ID.fullmatch(invocation.id):
        return invocation.id
    return hashlib.sha256(invocation.id.encode(errors="replace")).hexdigest()[:32]


def find_deadline_ms(current: Current, clock: Clock) -> int:
    """Return the time of day at which a run must end, in milliseconds since the epoch."""
    deadline = current.run.invocation.deadline
    left = _NEVER if deadline is None else deadline - clock.monotonic()
    return round((clock.now() + left) * 1000)


def find_trace(invocation: Invocation) -> str:
    """Return the trace that an invocation belongs to, as AWS X-Ray writes it; "" if to none."""
    trace = _TRACEPARENT.fullmatch(invocation.headers.get("traceparent", ""))
    if trace is None:
        return ""
    return f"Root=1-{trace[1]}-{trace[2]};Parent={trace[3]};Sampled={int(trace[4], 16) & 1}"


def build_headers(
    current: Current, function: LambdaFunction, clock: Clock
) -> list[tuple[str, str]]:
    """Return the headers of an invocation, as the Runtime API has them."""
    headers = [
        ("Content-Type", "application/json"),
        ("Lambda-Runtime-Aws-Request-Id", current.id),
        ("Lambda-Runtime-Deadline-Ms", str(find_deadline_ms(current, clock))),
        ("Lambda-Runtime-Invoked-Function-Arn", function.arn),
    ]
    trace = find_trace(current.run.invocation)
    if trace:
        headers.append(("Lambda-Runtime-Trace-Id", trace))
    tenant = current.run.invocation.headers.get(TENANT_HEADER, "")
    if _TENANT.fullmatch(tenant):
        headers.append(("Lambda-Runtime-Aws-Tenant-Id", tenant))
    return headers
