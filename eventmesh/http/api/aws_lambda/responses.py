"""Outcomes in the form of the API of AWS Lambda.

Shapes, statuses and keys are those of the service model in botocore (`lambda/2015-03-31`). Bodies
of errors have a member `error`, too: `eventmesh.Client` makes its own error of that.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson

from eventmesh.engine.codecs.envelope import dump_error
from eventmesh.engine.codecs.json import encode
from eventmesh.executions.aws.names import LATEST, arn
from eventmesh.http.api.guard import MissingCredentials
from eventmesh.http.auth.sigv4.refusal import (
    EXPIRED,
    INCOMPLETE,
    INVALID,
    MISSING,
    UNKNOWN,
    SignatureRefused,
)
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionNotFound,
    InvocationTimeout,
    PayloadInvalid,
    PayloadTooLarge,
    Throttled,
    Unauthenticated,
)
from eventmesh.model.invocation.log_tail import MAX_TAIL
from eventmesh.model.message import JSON, NO_HEADERS
from eventmesh.model.result import Failure, Result
from eventmesh.model.value import value

REQUEST_ID: Final = "x-amzn-RequestId"

_SHAPES: Final[Mapping[str, tuple[int, str]]] = {
    "AccessDeniedException": (403, "message"),
    "CallbackTimeoutException": (400, "Message"),
    "DurableExecutionAlreadyStartedException": (409, "Message"),
    "InvalidParameterValueException": (400, "message"),
    "InvalidRequestContentException": (400, "message"),
    "RequestTooLargeException": (413, "message"),
    "ResourceConflictException": (409, "message"),
    "ResourceNotFoundException": (404, "Message"),
    "ServiceException": (500, "Message"),
    "TooManyRequestsException": (429, "message"),
    "UnsupportedMediaTypeException": (415, "message"),
    EXPIRED: (403, "message"),
    INCOMPLETE: (400, "message"),
    INVALID: (403, "message"),
    MISSING: (403, "message"),
    UNKNOWN: (403, "message"),
}
"""By shape: the status, and the key of the message in the body."""


HIDDEN: Final = "the function failed; its log has the reason, under the id of this invocation"
"""What a caller is told who may not see what a handler raised."""

TIMED_OUT: Final = "Sandbox.Timedout"
RESPONSE_TOO_LARGE: Final = "Function.ResponseSizeTooLarge"
"""Types of errors that AWS Lambda has."""

_TIMEOUT: Final = re.compile(r" after its timeout of ([0-9.]+) s")

NOT_RUN: Final = (AccessDenied, BrokerUnavailable, FunctionNotFound, Throttled)


@value
class FinishedCall:
    """A synchronous call that has ended, and how many seconds it took."""

    id: str
    result: Result
    seconds: float
    tail: bytes | None = None
    """The end of its log, if the caller asked for it."""

    @property
    def repeatable(self) -> bool:
        """Whether the function was not run."""
        return isinstance(self.result.error, NOT_RUN)

    @property
    def size(self) -> int:
        return len(self.result.body)


class LambdaError(Exception):
    """Why a call was refused; `shape` is the name of the exception that SDKs raise."""

    def __init__(
        self,
        shape: str,
        message: str,
        error: Failure | None = None,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        **members: Any,
    ) -> None:
        """`error` is the cause as an error of ours; `members` go into the body."""
        super().__init__(message)
        self.shape = shape
        self.headers = headers
        self.members = members
        if error is not None:
            self.members["error"] = dump_error(error)

    def response(self, request_id: str) -> BytesResponse:
        """Build the response with this error."""
        status, key = _SHAPES[self.shape]
        blame = "User" if status < 500 else "Service"  # noqa: PLR2004
        return json_response(
            status,
            {"Type": blame, key: str(self), **self.members},
            {REQUEST_ID: request_id, "x-amzn-ErrorType": self.shape, **self.headers},
            request_id,
        )


def was_not_run(error: Failure | None, payload: bytes) -> bool:
    """Whether the function was not run, as far as the error says."""
    if isinstance(error, PayloadTooLarge):
        # It may be the result that is too large, in bytes: its values are not counted.
        return error.unit != "bytes" or error.size == len(payload)
    return isinstance(error, NOT_RUN)


def lambda_error_from(error: Failure, function: str) -> LambdaError:  # noqa: PLR0911  # one for each kind
    """Translate the error of a call that was not run."""
    match error:
        case FunctionNotFound():
            return LambdaError(
                "ResourceNotFoundException", f"Function not found: {arn(function)}", error
            )
        case Throttled():
            return _throttled(error)
        case PayloadTooLarge():
            return LambdaError("RequestTooLargeException", str(error), error)
        case SignatureRefused():
            return LambdaError(error.shape, str(error), error)
        case MissingCredentials():
            return LambdaError(MISSING, str(error), error)
        case Unauthenticated():
            return LambdaError(UNKNOWN, str(error), error)
        case AccessDenied():
            return LambdaError("AccessDeniedException", str(error), error)
        case _:
            return LambdaError("ServiceException", str(error), error)


def _throttled(error: Throttled) -> LambdaError:
    return LambdaError(
        "TooManyRequestsException",
        error.message,
        error,
        headers={
            "Retry-After": str(max(math.ceil(error.retry_after), 1)),
            "x-amz-retry-after": str(round(error.retry_after * 1000)),  # what botocore waits for
        },
        Reason="ConcurrentInvocationLimitExceeded",
    )


def finished_response(
    finished: FinishedCall,
    timeout: float | None,
    *,
    shows_errors: bool,
    headers: Mapping[str, str] = NO_HEADERS,
) -> BytesResponse:
    """Build the response to a call whose function was run.

    `timeout` is that of the function, where it is known. What a handler raised is shown only with
    `shows_errors`: exceptions quote URLs, keys and statements.
    """
    result = finished.result
    headers = {REQUEST_ID: finished.id, "X-Amz-Executed-Version": LATEST, **headers}
    if finished.tail is not None:
        headers["X-Amz-Log-Result"] = encode_log(finished, timeout)
    if result.error is None:
        return BytesResponse(200, result.body, result.content_type, headers, finished.id)
    headers["X-Amz-Function-Error"] = "Unhandled"
    body = encode(describe_error(finished, timeout, shows_errors=shows_errors))
    return BytesResponse(200, body, JSON, headers, finished.id)


def encode_log(finished: FinishedCall, timeout: float | None) -> str:
    """Return the end of the log of a call, in base64.

    A function that does not write them itself gets the lines that frame an invocation in Lambda's
    log; one that was ended at its timeout gets those at the end.
    """
    tail = finished.tail or f"START RequestId: {finished.id} Version: {LATEST}\n".encode()
    if b"REPORT RequestId:" not in tail and b'"platform.report"' not in tail:
        tail += _closing_lines(finished, timeout).encode()
    return base64.b64encode(tail[-MAX_TAIL:]).decode()


def _closing_lines(finished: FinishedCall, timeout: float | None) -> str:
    id = finished.id
    status = ""
    lines = f"END RequestId: {id}\nREPORT RequestId: {id}\tDuration: "
    if isinstance(finished.result.error, InvocationTimeout):
        seconds = _find_timeout(finished.result.error, finished.seconds, timeout)
        lines = f"{id} Task timed out after {seconds:.2f} seconds\n\n{lines}"
        status = "Status: timeout"
    return f"{lines}{finished.seconds * 1000:.2f} ms\t{status}\n"


def describe_error(
    finished: FinishedCall, timeout: float | None, *, shows_errors: bool
) -> dict[str, Any]:
    """Return the error of a call as its caller gets it.

    It is as the function's own runtime told it, if that did; otherwise in AWS's words, where AWS
    has some.
    """
    error, id = finished.result.error, finished.id
    if error is None:
        raise ValueError("the call did not fail")
    fields = dump_error(error)
    trace = str(fields.pop("traceback", ""))
    kind, message = str(fields.get("type", "")), str(fields["message"])
    match error:
        case InvocationTimeout():
            seconds = _find_timeout(error, finished.seconds, timeout)
            message = f"RequestId: {id} Error: Task timed out after {seconds:.2f} seconds"
            return {"errorType": TIMED_OUT, "errorMessage": message, "error": fields}
        case PayloadTooLarge():
            return {
                "errorType": RESPONSE_TOO_LARGE,
                "errorMessage": f"Response payload size exceeded maximum allowed payload size "
                f"({error.limit} bytes).",
                "error": fields,
            }
        case PayloadInvalid():
            kind, message = "PayloadInvalid", str(error)
        case _ if not shows_errors:
            message = fields["message"] = HIDDEN
            trace = ""
        case _ if (told := _read_told(finished.result.body)) is not None:
            return {**told, "error": fields}
        case _:
            pass
    return {
        "errorType": kind,
        "errorMessage": message,
        "stackTrace": trace.splitlines(),
        "requestId": id,
        "error": fields,
    }


def _find_timeout(error: InvocationTimeout, seconds: float, timeout: float | None) -> float:
    """Return after how many seconds a call was ended: its function may be in another process."""
    told = _TIMEOUT.search(str(error))
    if told is not None:
        return float(told[1])
    return seconds if timeout is None else timeout


def _read_told(body: bytes) -> dict[str, Any] | None:
    """Read an error as a runtime told it; None for what is no JSON object."""
    try:
        told: Any = orjson.loads(body or b"null")
    except orjson.JSONDecodeError:
        return None
    return cast(dict[str, Any], told) if isinstance(told, dict) else None
