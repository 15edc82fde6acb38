"""Errors as HTTP callers see them: problem documents of RFC 9457, without internals."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

from eventmesh.engine.codecs.json import encode
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionNotFound,
    InvocationTimeout,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    RetryLater,
    StoreUnavailable,
    Throttled,
    Unauthenticated,
)
from eventmesh.model.result import Failure

PROBLEM_JSON: Final = "application/problem+json"

UNAVAILABLE_RETRY_SECONDS: Final = 1.0
"""Seconds after which to retry where no better value is known."""


def problem_from(error: Failure) -> Problem:  # noqa: C901, PLR0911  # one for each kind
    """Translate a failure for an HTTP caller.

    What a handler raised is not shown outside: it was logged under the invocation's id.
    """
    match error:
        case Problem():
            return error
        case PayloadInvalid():
            return Problem(422, error.message, errors=[dict(reason) for reason in error.errors])
        case PayloadTooLarge():
            setting = f" ({error.setting})" if error.setting else ""
            detail = f"the body may have {error.limit:,} {error.unit} at the most{setting}"
            return Problem(413, detail, limit=error.limit)
        case Throttled():
            return retryable_problem(429, "too many requests at once", error.retry_after)
        case InvocationTimeout():
            return Problem(504, "the function did not end within its timeout")
        case Unauthenticated():
            return Problem(401, str(error), headers={"WWW-Authenticate": error.challenge})
        case AccessDenied():
            return Problem(403, str(error))
        case FunctionNotFound():
            return Problem(404, str(error))
        case BrokerUnavailable() | StoreUnavailable():
            return retryable_problem(
                503, "the service cannot take this now", UNAVAILABLE_RETRY_SECONDS
            )
        case RetryLater():
            return retryable_problem(
                503, "the service asks to retry later", error.after or UNAVAILABLE_RETRY_SECONDS
            )
        case _:
            return Problem(500, "the function failed; its log has this invocation's id")


def retryable_problem(status: int, detail: str, after: float) -> Problem:
    """Build a problem with Retry-After: `after` in whole seconds, rounded up."""
    return Problem(status, detail, headers={"Retry-After": str(max(math.ceil(after), 1))})


def encode_problem(problem: Problem, instance: str, invocation_id: str = "") -> bytes:
    """Encode the problem as JSON. `instance` is the path of the request."""
    members: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title or status_phrase(problem.status),
        "status": problem.status,
    }
    if problem.detail:
        members["detail"] = problem.detail
    members["instance"] = instance
    if invocation_id:
        members["invocation_id"] = invocation_id
    return encode(members | problem.extensions | members)


def status_phrase(status: int) -> str:
    """The reason phrase of a status (RFC 9110, section 15)."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
