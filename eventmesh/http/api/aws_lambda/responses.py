"""Outcomes in the form of the API of AWS Lambda.

Shapes, statuses and keys are those of the service model in botocore (`lambda/2015-03-31`). Bodies
of errors have a member `error`, too: `eventmesh.Client` makes its own error of that.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Final

from eventmesh.engine.codecs.envelope import dump_error
from eventmesh.engine.codecs.json import encode
from eventmesh.http.api.aws_lambda.names import LATEST, arn
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
from eventmesh.model.message import JSON, NO_HEADERS
from eventmesh.model.result import Failure, Result
from eventmesh.model.value import value

REQUEST_ID: Final = "x-amzn-RequestId"

_SHAPES: Final[Mapping[str, tuple[int, str]]] = {
    "AccessDeniedException": (403, "message"),
    "InvalidParameterValueException": (400, "message"),
    "InvalidRequestContentException": (400, "message"),
    "RequestTooLargeException": (413, "message"),
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

NOT_RUN: Final = (AccessDenied, BrokerUnavailable, FunctionNotFound, Throttled)


@value
class FinishedCall:
    """A synchronous call that has ended, and how many seconds it took."""

    id: str
    result: Result
    seconds: float

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
    finished: FinishedCall, timeout: float | None, *, tail: bool, shows_errors: bool
) -> BytesResponse:
    """Build the response to a call whose function was run.

    `timeout` is that of the function, where it is known. With `tail` the header X-Amz-Log-Result
    has the lines that frame an invocation in Lambda's log, without those of the handler. What a
    handler raised is shown only with `shows_errors`: exceptions quote URLs, keys and statements.
    """
    result = finished.result
    headers = {REQUEST_ID: finished.id, "X-Amz-Executed-Version": LATEST}
    if tail:
        headers["X-Amz-Log-Result"] = base64.b64encode(_log_lines(finished).encode()).decode()
    if result.error is None:
        return BytesResponse(200, result.body, result.content_type, headers, finished.id)
    headers["X-Amz-Function-Error"] = "Unhandled"
    body = encode(_function_error(result.error, finished, timeout, shows_errors=shows_errors))
    return BytesResponse(200, body, JSON, headers, finished.id)


def _log_lines(finished: FinishedCall) -> str:
    return (
        f"START RequestId: {finished.id} Version: {LATEST}\n"
        f"END RequestId: {finished.id}\n"
        f"REPORT RequestId: {finished.id}\tDuration: {finished.seconds * 1000:.2f} ms\t\n"
    )


def _function_error(
    error: Failure, finished: FinishedCall, timeout: float | None, *, shows_errors: bool
) -> dict[str, Any]:
    fields = dump_error(error)
    trace = str(fields.pop("traceback", ""))
    kind, message = str(fields.get("type", "")), str(fields["message"])
    match error:
        case InvocationTimeout():
            seconds = finished.seconds if timeout is None else timeout
            kind = "Sandbox.Timedout"
            message = f"RequestId: {finished.id} Error: Task timed out after {seconds:.2f} seconds"
        case PayloadInvalid():
            kind, message = "PayloadInvalid", str(error)
        case PayloadTooLarge():
            kind = "Function.ResponseSizeTooLarge"
        case _ if not shows_errors:
            message = fields["message"] = HIDDEN
            trace = ""
        case _:
            pass
    return {
        "errorType": kind,
        "errorMessage": message,
        "stackTrace": trace.splitlines(),
        "requestId": finished.id,
        "error": fields,
    }
