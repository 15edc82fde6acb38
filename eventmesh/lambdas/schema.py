"""What a Lambda function takes and returns, as far as anybody knows: JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from pydantic import TypeAdapter

from eventmesh.engine.binding import HttpBinding, Payload, compile_signature
from eventmesh.engine.codecs.json import decode
from eventmesh.lambdas.events import http_event
from eventmesh.model.invocation import Invocation, RouteTemplate


def _anything(event: Any = None) -> Any:
    """Stand for a handler that takes and returns any JSON."""


def _bytes(body: bytes) -> Any:
    """Stand for a handler that takes the body of a request as it is."""


class EventSchema:
    """The schema of all Lambda functions: an event and a result, each any JSON."""

    def __init__(self) -> None:
        self._anything = compile_signature(_anything)
        self._body = compile_signature(_bytes).payload

    @property
    def payload(self) -> Payload | None:
        return self._anything.payload

    @property
    def is_stream(self) -> bool:
        return False

    @property
    def result_type(self) -> Any:
        return Any

    @property
    def item_type(self) -> Any:
        return Any

    @property
    def item_adapter(self) -> TypeAdapter[Any]:
        return self._anything.item_adapter

    def http_binding(self, route: RouteTemplate) -> HttpBinding:
        """Take the whole request, whatever its parts are called."""
        return HttpBinding("handler", (), self._body if route.has_body else None)

    def build_async_payload(self, route: RouteTemplate) -> Callable[[Invocation], bytes]:
        """Store the request as the event that the function gets."""
        del route  # The event has it.

        def build(invocation: Invocation) -> bytes:
            return orjson.dumps(http_event(invocation))

        return build

    def check_payload(self, invocation: Invocation) -> None:
        """Raise PayloadInvalid for what is not JSON."""
        decode(invocation.payload)

    def check_batch(self) -> None:
        """Do nothing: a batch becomes one event."""
