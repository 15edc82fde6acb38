"""The Runtime API: what each request of a runtime means.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, version 2018-06-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from eventmesh.lambdas.api.server import Answer, Flow, Reply, Request, Sink, refusal

ROOT: Final = "/2018-06-01/runtime/"
MAX_ERROR: Final = 256 * 1024
"""Bytes of an error that a runtime reports."""

MODE: Final = "lambda-runtime-function-response-mode"
ERROR_TYPE: Final = "lambda-runtime-function-error-type"
ERROR_BODY: Final = "lambda-runtime-function-error-body"


class RuntimeClient(Protocol):
    """Who serves the API: an instance."""

    @property
    def max_response(self) -> int:
        """Bytes that a response may have which is passed on whole."""
        ...

    def next(self, reply: Reply) -> None:
        """Give the next invocation, once there is one."""
        ...

    def open_stream(self, id: str, headers: Mapping[str, str], flow: Flow) -> Sink | None:
        """Return what takes the streamed response of an invocation; None if nobody wants it so."""
        ...

    def respond(self, id: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take the result of an invocation."""
        ...

    def refuse_response(self, id: str, size: int) -> Answer:
        """Take note of a result that is too large."""
        ...

    def fail(self, id: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take the error of an invocation."""
        ...

    def fail_init(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take the error of the initialisation."""
        ...


def open_response_sink(client: RuntimeClient, request: Request, flow: Flow) -> Sink | None:
    """Return what takes the body of a request as it comes; None if it is to be kept."""
    if request.headers.get(MODE, "").lower() != "streaming" or not request.path.startswith(ROOT):
        return None
    match (request.method, *request.path.removeprefix(ROOT).split("/")):
        case ("POST", "invocation", id, "response"):
            return client.open_stream(id, request.headers, flow)
        case _:
            return None


def answer_runtime(client: RuntimeClient, request: Request, reply: Reply) -> None:
    """Do what a request below `ROOT` asks for."""
    headers, error = request.headers, request.body[:MAX_ERROR]
    match (request.method, *request.path.removeprefix(ROOT).split("/")):
        case ("GET", "invocation", "next"):
            client.next(reply)
        case ("POST", "invocation", id, "response"):
            if request.size > client.max_response:
                reply.send(client.refuse_response(id, request.size))
            else:
                reply.send(client.respond(id, request.body, headers))
        case ("POST", "invocation", id, "error"):
            reply.send(client.fail(id, error, headers))
        case ("POST", "init", "error"):
            reply.send(client.fail_init(error, headers))
        case _:
            what = f"there is no {request.method} {request.path}"
            reply.send(refusal(404, "NotFound", what))
