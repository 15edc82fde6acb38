"""Why a request to change an execution is refused."""

from __future__ import annotations

from eventmesh.model.errors import EventmeshError


class DurableError(EventmeshError):
    """A request that an execution cannot follow; nothing was changed."""


class StaleToken(DurableError):
    """A checkpoint of an invocation that was replaced, or that a newer checkpoint has overtaken."""


class InvalidUpdate(DurableError):
    """An update that does not fit the operation that it is for, or the limits of an execution."""


class ExecutionEnded(DurableError):
    """The execution has ended, and changes no more."""


class CallbackNotOpen(DurableError):
    """The callback has ended: it was completed, or its execution has ended."""


class CallbackTimedOut(CallbackNotOpen):
    """The callback has ended: nobody completed it in time."""


class CallbackNotFound(CallbackNotOpen):
    """There is no callback of that id."""


class ExecutionNotFound(DurableError):
    """There is no execution of that id: it never was, or it is no longer kept."""


class ExecutionNameTaken(DurableError):
    """Another execution of the function has that name."""


class CodeChanged(DurableError):
    """The code asks for another operation than the one that it did at this place before."""
