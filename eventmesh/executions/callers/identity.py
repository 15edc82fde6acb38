"""As whom executions act: as what began them, and never as what lets them go on."""

from __future__ import annotations

from eventmesh.durable.errors import ExecutionNotFound
from eventmesh.durable.execution import Execution
from eventmesh.engine.codecs.identity import decode_identity
from eventmesh.model.access.identity import ANONYMOUS
from eventmesh.model.errors import AccessDenied


def beginning_principal(principal: str) -> str:
    """Return what an execution keeps of the identity of the invocation that begins it.

    Text that cannot be read is nobody's and is not kept: so it has a bounded size.
    """
    return "" if decode_identity(principal) == ANONYMOUS else principal


def check_repeated(known: Execution, repeated: Execution, *, waits: bool) -> None:
    """Raise AccessDenied if another invocation began the execution that has the id of a new one.

    A caller who `waits` gets the result: where an identity began it, nobody else does. What is
    delivered or redriven again only has it go on, as whom it began: its own identity does not
    count, and it may have lost that where who redrove it is not believed.
    """
    began = _name(known)
    if _beginning(known) != _beginning(repeated) or (waits and began and began != _name(repeated)):
        raise AccessDenied(
            f"there is an execution {known.id!r} already, which another invocation began"
        )


def check_own(execution: Execution, function: str) -> None:
    """Raise ExecutionNotFound for an execution of another function: this one does not act for it.

    Whoever sends a message names any execution in it, and a store may have those of all functions.
    """
    if execution.function != function:
        raise ExecutionNotFound(f"{execution.id!r} is no execution of {function}")


def check_called(execution: Execution, operation: str, function: str) -> None:
    """Raise AccessDenied if that operation of an execution is no invocation of that function."""
    known = execution.operations.get(operation)
    if known is None or known.function != function:
        raise AccessDenied(
            f"{function or 'somebody unknown'} may not answer for what an execution of "
            f"{execution.function} invoked, nor be invoked for it: that is another function"
        )


def _beginning(execution: Execution) -> tuple[str, ...]:
    return (execution.function, execution.name, execution.caller, execution.caller_function)


def _name(execution: Execution) -> str:
    """The name alone: a client that asks again may have a new token, with other claims."""
    return decode_identity(execution.principal).principal
