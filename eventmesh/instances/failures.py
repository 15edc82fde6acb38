"""Errors of what happens to an instance, with the types that AWS Lambda has for them.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html lists `Runtime.…`.
"""

from __future__ import annotations

import signal
from typing import Final

from eventmesh.engine.spec import FunctionSpec
from eventmesh.instances.memory.abc import Excess
from eventmesh.instances.zygote.client import Exit
from eventmesh.model.errors import FunctionError, Throttled
from eventmesh.model.limits import INIT_TIMEOUT
from eventmesh.model.result import Failure

OUT_OF_MEMORY: Final = "Runtime.OutOfMemory"
EXIT_ERROR: Final = "Runtime.ExitError"
INIT_ERROR: Final = "Runtime.InitError"

_MEBIBYTE: Final = 2**20


def exit_error(
    spec: FunctionSpec, ended: Exit, peak: int, last: str, *, exceeded: Excess | None
) -> FunctionError:
    """Return the error of runs whose instance has ended; `last` are its last lines of output."""
    output = f"The last lines that it wrote:\n{last}" if last else "It wrote nothing."
    if exceeded == "machine":
        return FunctionError(
            OUT_OF_MEMORY,
            f"an instance of {spec.full_name} was killed with {_format(peak)} of memory, because "
            "its machine or container had no more: give that more memory, or let fewer instances "
            "run, with instances=… and memory=…",
            output,
        )
    if exceeded == "limit":
        return FunctionError(
            OUT_OF_MEMORY,
            f"an instance of {spec.full_name} took more than its memory of {_format_limit(spec)} "
            "and was killed: give the function more with memory=…, or let one run take less",
            output,
        )
    return FunctionError(
        EXIT_ERROR,
        f"the instance that ran {spec.full_name} ended in the middle, with {_how(ended)}, and "
        f"{_format(peak)} of memory: see the last lines of its output",
        output,
    )


def init_error(spec: FunctionSpec, cause: Failure) -> Failure:
    """Return the error of invocations for which no instance could be started."""
    if not isinstance(cause, FunctionError):
        return cause
    return FunctionError(
        INIT_ERROR,
        f"an instance of {spec.full_name} could not start: {cause}",
        cause.traceback,
    )


def init_timeout_error(spec: FunctionSpec) -> Failure:
    """Return the error of invocations whose instance was not ready in time."""
    return FunctionError(
        INIT_ERROR,
        f"an instance of {spec.full_name} was not ready within {INIT_TIMEOUT:g} s and was killed: "
        "let its resources open faster, or when they are first used",
    )


def start_error(spec: FunctionSpec, cause: Exception) -> Failure:
    """Return the error of invocations for which no process could be started: nothing has run."""
    return Throttled(f"no instance of {spec.full_name} could be started ({cause})", 1.0)


def neighbour_error(spec: FunctionSpec) -> Throttled:
    """Return the error of runs whose instance was killed because of another run."""
    return Throttled(f"the instance of {spec.full_name} was killed because of another run", 0.1)


def describe_exit(ended: Exit, peak: int, spec: FunctionSpec, *, exceeded: Excess | None) -> str:
    """Say in a few words how an instance ended: "ended with exit status 7, …"."""
    took = f"it took {_format(peak)} of memory at most"
    if exceeded == "machine":
        return f"was killed because its machine or container had no more memory; {took}"
    if exceeded == "limit":
        return f"took more than its {_format_limit(spec)} of memory and was killed; {took}"
    return f"ended with {_how(ended)}; {took}"


def _how(ended: Exit) -> str:
    if ended.code >= 0:
        return f"exit status {ended.code}"
    try:
        return f"signal {signal.Signals(-ended.code).name}"
    except ValueError:
        return f"signal {-ended.code}"


def _format_limit(spec: FunctionSpec) -> str:
    memory = None if spec.isolation is None else spec.isolation.memory
    return "memory" if memory is None else _format(memory)


def _format(size: int) -> str:
    return f"{size / _MEBIBYTE:.0f} MiB"
