"""What a request to the Lambda API says beside its payload."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NoReturn

import orjson

from eventmesh.executions.aws.names import LATEST, arn, parse_name
from eventmesh.executions.messages.contents import TENANT_HEADER
from eventmesh.http.api.aws_lambda.responses import LambdaError
from eventmesh.http.edge.message_headers import accept_message_headers
from eventmesh.http.protocol import TIMEOUT
from eventmesh.http.server.request import Request, parse_query
from eventmesh.model.errors import DeclarationError, FunctionNotFound
from eventmesh.model.topology import check_function

MAX_CLIENT_CONTEXT: Final = 3583
"""Characters of X-Amz-Client-Context."""

_TENANT: Final = re.compile(r"[a-zA-Z0-9._:/=+@ -]{1,256}")

INVALID: Final = "InvalidRequestContentException"
WAIT: Final = "RequestResponse"


def read_invocation_type(request: Request) -> str:
    """Return the type as it is sent: "RequestResponse", "Event", "DryRun", or something else."""
    return request.headers.get("X-Amz-Invocation-Type", WAIT)


def read_function_name(request: Request, text: str) -> str:
    """Read the name "service.function" from a request. Raises LambdaError."""
    parsed = parse_name(text)
    if parsed is None:
        raise LambdaError(
            "InvalidParameterValueException",
            f"{text!r} is not a function name",
            FunctionNotFound(text),
        )
    name, qualifier = parsed
    for given in (qualifier, *parse_query(request.target).get("Qualifier", ())):
        if given not in ("", LATEST):
            raise_not_found(f"{name}:{given}", f"; a function has one version, {LATEST}")
    try:
        return check_function(name)
    except DeclarationError:
        raise_not_found(name, "; a function name is 'service.function'")


def raise_not_found(name: str, advice: str) -> NoReturn:
    """Raise LambdaError for a function that is not there."""
    raise LambdaError(
        "ResourceNotFoundException",
        f"Function not found: {arn(name)}{advice}",
        FunctionNotFound(name),
    )


def read_client_context(request: Request) -> Mapping[str, str]:
    """Read the member `custom` of a client's X-Amz-Client-Context. Raises LambdaError."""
    given = request.headers.get("X-Amz-Client-Context")
    if given is None:
        return {}
    try:
        context: Any = orjson.loads(base64.b64decode(given[:MAX_CLIENT_CONTEXT], validate=True))
        custom: Mapping[str, Any] = context.get("custom") or {}
        headers = {name: str(text) for name, text in custom.items()}
    except (binascii.Error, ValueError, AttributeError):
        raise LambdaError(
            INVALID,
            f"Client context must be a Base64-encoded JSON object of {MAX_CLIENT_CONTEXT} "
            "characters at most",
        ) from None
    return accept_message_headers(headers)


def read_tenant(request: Request) -> Mapping[str, str]:
    """Read for whom a client says that the function works. Raises LambdaError."""
    given = request.headers.get("X-Amz-Tenant-Id")
    if given is None:
        return {}
    if _TENANT.fullmatch(given) is None:
        raise LambdaError(
            "InvalidParameterValueException",
            "X-Amz-Tenant-Id: a tenant has 1 to 256 letters, digits, spaces and ._:/=+@-",
        )
    return {TENANT_HEADER: given}


def read_seconds(text: str) -> float:
    """Read a number of seconds. Raises LambdaError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise LambdaError(
            "InvalidParameterValueException", f"{TIMEOUT}: {text!r} is not a number of seconds"
        )
    return seconds


def digest(body: bytes) -> str:
    """Tell payloads apart: one id with another payload is another call."""
    return sha256(body).hexdigest()
