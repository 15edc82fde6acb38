"""Every exception eventmesh raises: faults, and apart from them what handlers raise as a signal.

The tree:

    EventmeshError
    ├── DeclarationError          a service, function, trigger or option was declared wrongly
    ├── SettingsError             a setting, target or URL cannot be used
    └── InvocationError           the outcome of one call or invocation
        ├── FunctionNotFound      nothing answers to that name
        ├── Throttled             over a limit; `retry_after` says when to retry
        ├── InvocationTimeout     the deadline passed
        ├── FunctionError         the handler failed; remote type, message and traceback
        ├── PayloadInvalid        the payload does not fit the signature; one reason a field
        ├── PayloadTooLarge       the payload is over the size limit
        ├── AccessDenied          the caller may not do that
        │   └── Unauthenticated   its credentials are missing, or not believed
        ├── BrokerUnavailable     the broker cannot take the message now
        └── StoreUnavailable      the service's database cannot be used now

    Signal                        what a handler raises to say what should happen
    ├── NotBegun                  not for handlers: requeue a delivery whose run was not begun
    ├── AlreadyDone               not for handlers: what is to be run was done by an earlier run
    ├── Cancelled                 not for handlers: the invocation was cancelled by its id
    ├── RetryLater                deliver this again after so many seconds
    ├── Reject                    set this aside at once, no retry
    ├── PartialFailure            these items of the batch failed, the others succeeded
    └── Problem                   answer the HTTP caller with this problem (RFC 9457)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class EventmeshError(Exception):
    """Base of all faults."""


class DeclarationError(EventmeshError):
    """A declaration cannot work; the message says which, why and what to write instead."""


class SettingsError(EventmeshError):
    """A setting, a target of the launcher or a URL cannot be used."""


class InvocationError(EventmeshError):
    """How a call or an invocation failed.

    `code` is the stable name of the kind of failure: it is what travels between processes and
    what metrics and problem documents carry.
    """

    code: ClassVar[str] = "error"


class FunctionNotFound(InvocationError):
    """No function (or queue) of that name exists in the mesh."""

    code = "function_not_found"

    def __init__(self, name: str, advice: str = "") -> None:
        super().__init__(name, advice)
        self.name = name
        self.advice = advice

    def __str__(self) -> str:
        advice = self.advice or "check the name, and that its service is running"
        return f"there is no {self.name!r} in the mesh: {advice}"


class Throttled(InvocationError):
    """A limit is reached, and the queue for a permit is full or was too slow.

    Nothing was started or stored. `retry_after` is in seconds.
    """

    code = "throttled"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message}; try again in {self.retry_after:g} s"


class InvocationTimeout(InvocationError):
    """The deadline passed before the result was there."""

    code = "timeout"


class FunctionError(InvocationError):
    """The handler raised, or its result could not be encoded.

    `type` and `message` are those of the exception where it was raised; `traceback` is its text,
    kept for logs and dead letters and never sent to an HTTP caller.
    """

    code = "function_error"

    def __init__(self, type: str, message: str, traceback: str = "") -> None:
        super().__init__(type, message)  # What repr shows: a traceback has no place in it.
        self.type = type
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class PayloadInvalid(InvocationError):
    """The payload does not fit the function's signature.

    `errors` has one mapping a field: `loc` (path to it), `msg` (the reason) and `type`.
    """

    code = "payload_invalid"

    def __init__(self, message: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message, errors)
        self.message = message
        self.errors = tuple(errors)

    def __str__(self) -> str:
        reasons = "; ".join(map(_reason, self.errors))
        return f"{self.message}: {reasons}" if reasons else self.message


def _reason(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error.get("loc", ()))
    return f"{place or 'payload'}: {error.get('msg', 'invalid')}"


class PayloadTooLarge(InvocationError):
    """The payload has more bytes, or values, than the function or the broker accepts.

    `size` and `limit` are in `unit`: "bytes", or "JSON values". `setting` names the option or the
    variable that sets the limit, where there is one.
    """

    code = "payload_too_large"

    def __init__(self, size: int, limit: int, setting: str = "", unit: str = "bytes") -> None:
        super().__init__(size, limit, setting, unit)
        self.size = size
        self.limit = limit
        self.setting = setting
        self.unit = unit

    def __str__(self) -> str:
        setting = f" ({self.setting})" if self.setting else ""
        return (
            f"the payload has {self.size:,} {self.unit}, the limit is {self.limit:,}{setting}: "
            "send a reference to the data instead, or raise the limit"
        )


class AccessDenied(InvocationError):
    """The caller is not allowed to do this."""

    code = "access_denied"


class Unauthenticated(AccessDenied):
    """Who the caller is, is not known: its credentials are missing, or are not believed.

    `challenge` says how to authenticate over HTTP, as WWW-Authenticate has it (RFC 9110, section
    11.6.1); it does not travel.
    """

    code = "unauthenticated"

    def __init__(self, message: str, challenge: str = "Bearer") -> None:
        super().__init__(message)
        self.challenge = challenge


class BrokerUnavailable(InvocationError):
    """The broker is away, blocked or refuses; what was being stored may or may not be."""

    code = "broker_unavailable"


class StoreUnavailable(InvocationError):
    """The service's database is away, or too slow: what was being committed may or may not be."""

    code = "store_unavailable"


def consumed(queue: str, consumers: int) -> DeclarationError:
    """What to raise where a queue with consumers would be deleted."""
    count = "a consumer" if consumers == 1 else f"{consumers} consumers"
    return DeclarationError(
        f"the queue {queue!r} is not deleted: it has {count}; stop what consumes it first"
    )


class Signal(Exception):
    """Base of what a handler raises to steer its own settlement. Not a fault."""


class NotBegun(Signal):
    """Not for handlers: the run of a delivery was not begun, which has to be requeued as it is."""

    def __str__(self) -> str:
        return "it was not begun"


class AlreadyDone(Signal):
    """Not for handlers: an earlier run has committed what this one is to do.

    `ctx.transaction()` raises it on entering. The invocation is settled as a success.
    """

    def __str__(self) -> str:
        return "an earlier run has done it"


class Cancelled(Signal):
    """Not for handlers: the invocation was cancelled by its id, and is settled as that."""

    def __str__(self) -> str:
        return "it was cancelled"


class RetryLater(Signal):
    """Deliver this invocation again after `after` seconds. It spends an attempt.

    Without `after`, the function's retry policy says when. Raises ValueError for what is no
    number of seconds, zero or more.
    """

    def __init__(self, after: float | None = None, reason: str = "") -> None:
        super().__init__(after, reason)
        if after is not None and not (
            isinstance(after, (int, float)) and 0 <= after <= sys.float_info.max
        ):
            raise ValueError(f"RetryLater(after={after!r}): write seconds, a number from 0 on")
        self.after = after
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason or "the handler asked to be called again later")


class Reject(Signal):
    """Set this invocation aside as a dead letter at once; retrying it cannot help."""

    def __init__(self, reason: str = "rejected by the handler") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class PartialFailure(Signal):
    """Some items of a batch failed; only they come back.

    `failures` maps the index of each failed item in the list the handler got to what went wrong:
    an exception (a `RetryLater` or `Reject` among them steers that item alone) or a message.
    """

    def __init__(self, failures: Mapping[int, Exception | str]) -> None:
        super().__init__(failures)
        self.failures = dict(failures)

    def __str__(self) -> str:
        return f"failed items of the batch: {len(self.failures)}"


class Problem(Signal):
    """Answer an HTTP caller with an RFC 9457 problem; to any other caller it is a failure.

    `detail` and `extensions` are sent as they are: put nothing secret in them.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        title: str = "",
        type: str = "about:blank",
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(status, detail)
        if status not in range(400, 600):
            raise ValueError(f"a problem has a status from 400 to 599, not {status}")
        self.status = status
        self.detail = detail
        self.title = title
        self.type = type
        self.headers = dict(headers or {})
        self.extensions = extensions

    def __str__(self) -> str:
        return f"{self.status} {self.detail or self.title}".rstrip()
