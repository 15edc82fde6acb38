"""The signature of a handler, compiled once: the schema of its payload and its result."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from types import GenericAlias
from typing import Any

from pydantic import TypeAdapter

from eventmesh.engine.binding.annotations import (
    AnyCallable,
    build_adapter,
    format_type,
    handler_name,
    inspect_parameters,
    resolve_hints,
    unwrap_handler,
)
from eventmesh.engine.binding.async_payload import build_async_payload
from eventmesh.engine.binding.batch import BatchBinder, build_batch_binder
from eventmesh.engine.binding.http import HttpBinding, bind_route
from eventmesh.engine.binding.parameters import Parameter, payload_parameters, read_parameters
from eventmesh.engine.binding.payload import Binder, Payload, build_payload, build_payload_binder
from eventmesh.engine.binding.results import (
    Encoder,
    build_encoder,
    read_item_type,
    read_result_type,
)
from eventmesh.model.errors import DeclarationError
from eventmesh.model.invocation import Invocation, RouteTemplate
from eventmesh.model.limits import DEFAULT_MAX_NODES
from eventmesh.model.value import value


@value
class Signature:
    """What a handler takes and returns: a `Schema`.

    `function` is its name in error messages. `payload` is what it takes if it is invoked by name;
    None if it takes no payload. `result_type` is the annotation of its result; for a handler that
    yields, a list of `item_type`. `encode` encodes a result and `encode_item` one item; both raise
    FunctionError for a value that does not fit. Without `yield`, the item is the result. A payload
    that is JSON has at most `max_nodes` values.
    """

    function: str
    parameters: tuple[Parameter, ...]
    payload: Payload | None
    is_async: bool
    is_stream: bool
    result_type: Any
    item_type: Any
    result_adapter: TypeAdapter[Any]
    item_adapter: TypeAdapter[Any]
    encode: Encoder
    encode_item: Encoder
    max_nodes: int = DEFAULT_MAX_NODES

    @property
    def context(self) -> str | None:
        """The name of the parameter for the Context."""
        return self._parameter_of_kind("context")

    @property
    def event(self) -> str | None:
        """The name of the parameter for the whole event."""
        return self._parameter_of_kind("event")

    @property
    def identity(self) -> str | None:
        """The name of the parameter for the identity of the caller."""
        return self._parameter_of_kind("identity")

    @property
    def resources(self) -> Mapping[str, type]:
        """The declared types of the resources to inject, by the names of the parameters."""
        return {
            parameter.name: parameter.resource
            for parameter in self.parameters
            if parameter.resource is not None
        }

    def build_binder(self) -> Binder:
        """Build the binder of invocations by name, and of messages, events and timers.

        The context and resources are not among the arguments: the runtime adds them.
        """
        return build_payload_binder(self.payload)

    def build_http_binder(self, route: RouteTemplate) -> Binder:
        """Build the binder of requests to a route.

        Raises DeclarationError if the route and the signature do not fit together.
        """
        return self.http_binding(route).build_binder()

    def build_batch_binder(self) -> BatchBinder:
        """Build the binder of batches, whose bodies become the one list that the handler takes.

        Raises DeclarationError if the handler takes anything else.
        """
        return build_batch_binder(self.function, self.parameters, self.max_nodes)

    def http_binding(self, route: RouteTemplate) -> HttpBinding:
        """Find which part of a request to that route fills which parameter.

        Raises DeclarationError if the route and the signature do not fit together.
        """
        return bind_route(self.function, self.parameters, route, self.max_nodes)

    def build_async_payload(self, route: RouteTemplate) -> Callable[[Invocation], bytes]:
        """Build a function that checks a request to that route and returns the payload to store.

        The function raises PayloadInvalid. Raises DeclarationError as `http_binding` does.
        """
        return build_async_payload(self.payload, self.http_binding(route))

    def check_payload(self, invocation: Invocation) -> None:
        """Raise PayloadInvalid for a payload that does not fit."""
        self.build_binder()(invocation)

    def check_batch(self) -> None:
        """Raise DeclarationError if it does not take batches."""
        self.build_batch_binder()

    def _parameter_of_kind(self, kind: str) -> str | None:
        return next(
            (parameter.name for parameter in self.parameters if parameter.kind == kind), None
        )


def compile_signature(
    handler: AnyCallable, resources: Collection[type] = (), max_nodes: int = DEFAULT_MAX_NODES
) -> Signature:
    """Compile the signature of a handler: a function, a bound method or a callable object.

    A parameter annotated with one of the `resources`, or with a base class of one, gets that
    resource. A payload that is JSON may have `max_nodes` values. Raises DeclarationError, with
    advice, for a handler that no payload can fit.
    """
    target = unwrap_handler(handler)
    function = handler_name(handler)
    hints = resolve_hints(target, function)
    parameters = read_parameters(function, inspect_parameters(handler), hints, resources)
    is_stream = _is_any(handler, target, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    is_async = _is_any(handler, target, inspect.isasyncgenfunction, inspect.iscoroutinefunction)
    returns = hints.get("return", Any)
    item_type = read_item_type(returns) if is_stream else read_result_type(returns)
    item_adapter = _build_output_adapter(function, item_type)
    verb = "yielded" if is_stream else "returned"
    encode_item = build_encoder(function, item_type, item_adapter, verb)
    result_type: Any = GenericAlias(list, (item_type,)) if is_stream else item_type
    result_adapter = _build_output_adapter(function, result_type) if is_stream else item_adapter
    return Signature(
        function,
        parameters,
        build_payload(function, payload_parameters(parameters), max_nodes),
        is_async,
        is_stream,
        result_type,
        item_type,
        result_adapter,
        item_adapter,
        build_encoder(function, result_type, result_adapter) if is_stream else encode_item,
        encode_item,
        max_nodes,
    )


def _is_any(
    handler: AnyCallable, target: AnyCallable, *kinds: Callable[[AnyCallable], bool]
) -> bool:
    """Whether the handler or its target is of one of the kinds: a decorator may change the kind."""
    return any(is_kind(function) for is_kind in kinds for function in (handler, target))


def _build_output_adapter(function: str, annotation: Any) -> TypeAdapter[Any]:
    def make_error(why: str) -> DeclarationError:
        return DeclarationError(f"{function}() -> {format_type(annotation)}: {why}")

    return build_adapter(
        annotation,
        make_error,
        "it has no JSON form: return a pydantic model, a dataclass or plain values; to return "
        "items one by one, yield them",
    )
