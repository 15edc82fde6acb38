"""What callers get of an execution that has ended."""

from __future__ import annotations

from eventmesh.durable.execution import Execution
from eventmesh.durable.operation import ErrorObject
from eventmesh.model.errors import FunctionError, InvocationTimeout
from eventmesh.model.result import Result


def execution_result(execution: Execution) -> Result:
    """The result of an execution that has ended."""
    if execution.status == "SUCCEEDED":
        return Result((execution.result or "").encode())
    error = execution.error or ErrorObject()
    message = error.message or f"the execution is {execution.status}"
    if execution.status == "TIMED_OUT":
        return Result(b"", error=InvocationTimeout(message))
    trace = "\n".join(error.stack_trace or ())
    return Result(b"", error=FunctionError(error.type or execution.status, message, trace))
