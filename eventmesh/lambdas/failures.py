"""What ends a run of a Lambda function, in the words in which AWS Lambda tells it.

They are those of the open source parts of AWS Lambda
(https://github.com/aws/aws-lambda-runtime-interface-emulator) and of what its users have recorded.
"""

from __future__ import annotations

import signal
from typing import Any, Final

import orjson

from eventmesh.instances.failures import EXIT_ERROR, OUT_OF_MEMORY
from eventmesh.instances.zygote.client import Exit
from eventmesh.model.errors import FunctionError

RESPONSE_TOO_LARGE: Final = "Function.ResponseSizeTooLarge"

_SIGNALS: Final = {
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGILL: "illegal instruction",
    signal.SIGKILL: "killed",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGTERM: "terminated",
}
"""As Go, in which AWS Lambda's own parts are written, calls them."""


def exited_error(id: str, ended: Exit, error: FunctionError) -> tuple[FunctionError, bytes]:
    """Return the error of the run `id` whose process has ended, and how a caller gets it.

    `error` is ours, whose last lines of output are kept as the traceback.
    """
    message = f"RequestId: {id} Error: {_describe(ended, exceeded=error.type == OUT_OF_MEMORY)}"
    return FunctionError(error.type, message, error.traceback), dump(error.type, message)


def start_error(ended: Exit, error: FunctionError) -> FunctionError:
    """Return the error of an instance that has ended before it was ready: no run has begun."""
    message = _describe(ended, exceeded=error.type == OUT_OF_MEMORY)
    return FunctionError(error.type, message, error.traceback)


def add_request_id(id: str, error: FunctionError) -> tuple[FunctionError, bytes]:
    """Return that error for the invocation `id`, which was to be the first."""
    message = f"RequestId: {id} Error: {error.message}"
    return FunctionError(error.type, message, error.traceback), dump(error.type, message)


def worker_error(id: str) -> tuple[FunctionError, bytes]:
    """Return the error of the run `id` whose process was one of several of an instance."""
    message = f"RequestId: {id} Error: {_describe(Exit(0, 0), exceeded=False)}"
    return FunctionError(EXIT_ERROR, message), dump(EXIT_ERROR, message)


def _describe(ended: Exit, *, exceeded: bool) -> str:
    if exceeded:
        return "Runtime exited with error: signal: killed"
    if ended.code > 0:
        return f"Runtime exited with error: exit status {ended.code}"
    if ended.code == 0:
        return "Runtime exited without providing a reason"
    try:
        name = _SIGNALS.get(signal.Signals(-ended.code), f"signal {-ended.code}")
    except ValueError:
        name = f"signal {-ended.code}"
    return f"Runtime exited with error: signal: {name}"


def response_size_message(limit: int) -> str:
    """Return what the caller of a run is told whose response has more than `limit` bytes."""
    return f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."


def response_size_error(limit: int) -> bytes:
    """Return how a caller gets that error."""
    return dump(RESPONSE_TOO_LARGE, response_size_message(limit))


def dump(kind: str, message: str) -> bytes:
    """Return an error as the JSON that a caller gets."""
    fields: dict[str, Any] = {"errorType": kind, "errorMessage": message}
    return orjson.dumps(fields)
