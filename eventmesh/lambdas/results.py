"""What a Lambda function returns, as the result of the invocation that it was for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson

from eventmesh.lambdas.events import item_id
from eventmesh.model.errors import FunctionError
from eventmesh.model.invocation import Invocation
from eventmesh.model.message import BYTES, JSON
from eventmesh.model.result import Failure, Result, is_final_status

_BAD_RESPONSE: Final = "Runtime.InvalidResponse"

HTTP_RESPONSE: Final = "application/vnd.awslambda.http-integration-response"
"""The content type of a streamed response that begins with its status and headers."""


def read_result(invocation: Invocation, body: bytes, content_type: str) -> Result:
    """Return the result: for HTTP the response that it describes, for a queue what failed of it."""
    if invocation.http is not None:
        return _read_response(body)
    if invocation.batch is not None:
        return _read_failures(invocation, len(invocation.batch.bodies), body)
    if invocation.trigger == "queue":
        failed = _read_failures(invocation, 1, body)
        error = (failed.failures or {}).get(0) or failed.error
        return failed if error is None else Result(b"", error=error)
    return Result(body or b"null", content_type=_find_type(content_type))


def _find_type(given: str) -> str:
    """Return the content type of a response: JSON, unless it says something that is meant.

    curl says that what it sends is a form; AWS looks at none of it.
    """
    return JSON if not given or "json" in given or "form-urlencoded" in given else given


def read_error(body: bytes, kind: str) -> FunctionError:
    """Return the error that a runtime reports, in AWS's form; `kind` is from the header."""
    fields = _parse_object(body) or {}
    trace: Any = fields.get("stackTrace") or fields.get("trace") or ""
    return FunctionError(
        str(fields.get("errorType") or kind or "Unknown"),
        str(fields.get("errorMessage") or ""),
        "\n".join(map(str, _as_list(trace))),
    )


def read_stream_error(text: str, kind: str) -> FunctionError:
    """Return the error that a runtime reports behind a streamed response: JSON, in base64."""
    try:
        body = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        body = text.encode()
    return read_error(body, kind)


def build_streamed(described: Any) -> Result:
    """Return the result whose status, headers and cookies a streamed response begins with.

    Raises TypeError, ValueError or AttributeError for what describes no response.
    """
    if not isinstance(described, dict):
        raise TypeError("its beginning is no JSON object")
    fields = cast(dict[str, Any], described)
    return _build_response({"statusCode": 200, "body": "", **fields}, default_type=BYTES)


def _read_response(body: bytes) -> Result:
    response = _parse_object(body)
    if response is None or "statusCode" not in response:
        return Result(body or b"null")  # Without a status it is the body of a 200.
    try:
        return _build_response(response)
    except (TypeError, ValueError, AttributeError, binascii.Error) as error:
        return Result(
            b"",
            error=FunctionError(
                _BAD_RESPONSE,
                f"it returned a response that is none ({error}): statusCode is a whole number from "
                "200 to 599, headers and cookies are texts, body is a text",
            ),
        )


def _build_response(response: Mapping[str, Any], default_type: str = JSON) -> Result:
    status = int(response["statusCode"])
    if not is_final_status(status):
        raise ValueError(f"statusCode {status}")
    given_headers: dict[Any, Any] = response.get("headers") or {}
    headers: dict[str, str | list[str]] = {
        str(name): _header(text) for name, text in given_headers.items()
    }
    cookies = response.get("cookies")
    if cookies:
        headers["Set-Cookie"] = [str(cookie) for cookie in cookies]
    given: Any = response.get("body")
    text = (
        given if isinstance(given, str) else "" if given is None else orjson.dumps(given).decode()
    )
    body = (
        base64.b64decode(text, validate=True) if response.get("isBase64Encoded") else text.encode()
    )
    named = {name.lower(): name for name in headers}
    kind = headers.pop(named["content-type"]) if "content-type" in named else default_type
    return Result(body, content_type=str(kind), status=status, headers=headers)


def _header(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    raise TypeError("a header is no text")


def _read_failures(invocation: Invocation, count: int, body: bytes) -> Result:
    """Read `batchItemFailures`: those come back; all do, if they cannot be read.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    listed: Any = (_parse_object(body) or {}).get("batchItemFailures")
    if not listed:
        return Result()
    numbers = {item_id(invocation, number): number for number in range(count)}
    failures: dict[int, Failure] = {}
    for each in _as_list(listed):
        item = cast(dict[str, Any], each) if isinstance(each, dict) else {}
        id: Any = item.get("itemIdentifier")
        number = numbers.get(id) if isinstance(id, str) else None
        if number is None:
            error = FunctionError(
                "BatchItemFailure", f"batchItemFailures names {id!r}, which is not in the batch"
            )
            return Result(b"", error=error)
        failures[number] = FunctionError("BatchItemFailure", "the function says that it failed")
    return Result(failures=failures)


def _parse_object(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object; None for everything else."""
    try:
        parsed: Any = orjson.loads(body or b"null")
    except orjson.JSONDecodeError:
        return None
    return cast(dict[str, Any], parsed) if isinstance(parsed, dict) else None


def _as_list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]  # pyright: ignore[reportUnknownVariableType]
