"""Errors as executions record them, and what the code of a function gets of them."""

from __future__ import annotations

from eventmesh.durable.operation import ErrorObject, Operation
from eventmesh.engine.codecs.envelope import to_fault
from eventmesh.engine.runtimes.failures import failure_from
from eventmesh.model.errors import FunctionError, InvocationError, InvocationTimeout
from eventmesh.model.result import Failure


def to_error_object(error: BaseException) -> ErrorObject:
    """Describe what a handler or a step raised. A cancellation from outside is raised."""
    if isinstance(error, FunctionError):  # Of an operation in there: it is that error still.
        return describe_failure(error)
    return describe_failure(failure_from(error))


def describe_failure(failure: Failure) -> ErrorObject:
    """Describe the error of a result, as it is recorded."""
    fault = to_fault(failure)
    if isinstance(fault, FunctionError):
        lines = tuple(fault.traceback.splitlines()) or None
        return ErrorObject(fault.message, fault.type, stack_trace=lines)
    return ErrorObject(str(fault), type(fault).__name__)


def operation_error(operation: Operation) -> InvocationError:
    """The error of an operation that did not succeed, the same in every turn."""
    error = operation.error or ErrorObject(f"it is {operation.status}")
    message = error.message or ""
    if operation.status == "TIMED_OUT":
        what = operation.name or operation.type.lower()
        return InvocationTimeout(f"{what}: {message}")
    return FunctionError(error.type or "Error", message, "\n".join(error.stack_trace or ()))
