"""The signature of a handler, compiled once: the schema of what it takes and gives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from types import GenericAlias
from typing import Any

from pydantic import TypeAdapter

from eventmesh.engine.binding.annotations import (
    Function,
    adapter_of,
    format_type,
    function_of,
    hints_of,
    name_of,
    parameters_of,
)
from eventmesh.engine.binding.async_payload import build_async_payload
from eventmesh.engine.binding.batch import BatchBinder, batch_binder
from eventmesh.engine.binding.http import HttpBinding, bind_route
from eventmesh.engine.binding.parameters import Parameter, read_parameters, taken_by_name
from eventmesh.engine.binding.payload import Binder, Payload, binder_of, payload_of
from eventmesh.engine.binding.results import Encoder, encoder_of, returned_type, yielded_type
from eventmesh.model.errors import DeclarationError
from eventmesh.model.invocation import Invocation, RouteTemplate
from eventmesh.model.value import value


@value
class Signature:
    """What a handler takes and gives.

    `function` is its name as error messages show it. `payload` is what it takes when it is
    invoked by name; None if it looks at none. `result_type` is the annotation of what it returns;
    where it yields, a list of `item_type`. `encode` makes bytes of a result and `encode_item` of
    one item; both raise FunctionError for what does not fit. A handler that does not yield has
    its result for an item.
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

    @property
    def context(self) -> str | None:
        """The name of the parameter that wants the Context."""
        return self._named("context")

    @property
    def event(self) -> str | None:
        """The name of the parameter that wants the whole event."""
        return self._named("event")

    @property
    def resources(self) -> Mapping[str, type]:
        """The declared type of the resource that each parameter wants, by its name."""
        return {one.name: one.resource for one in self.parameters if one.resource is not None}

    def build_binder(self) -> Binder:
        """Build what makes arguments of invocations by name, of messages, events and timers.

        The context and resources are not among them: they come from whoever runs the handler.
        """
        return binder_of(self.payload)

    def build_http_binder(self, route: RouteTemplate) -> Binder:
        """Build what makes arguments of requests to a route.

        Raises DeclarationError where the route and the signature do not fit each other.
        """
        return self.http_binding(route).build_binder()

    def build_batch_binder(self) -> BatchBinder:
        """Build what makes the one list that the handler takes of the bodies of a batch.

        Raises DeclarationError if it takes anything else.
        """
        return batch_binder(self.function, self.parameters)

    def http_binding(self, route: RouteTemplate) -> HttpBinding:
        """Which part of a request fills which parameter, on that route.

        Raises DeclarationError where the route and the signature do not fit each other.
        """
        return bind_route(self.function, self.parameters, route)

    def build_async_payload(self, route: RouteTemplate) -> Callable[[Invocation], bytes]:
        """Build what checks a request to that route, and makes the payload of it that is stored.

        Raises DeclarationError as `http_binding` does; what is built raises PayloadInvalid.
        """
        return build_async_payload(self.payload, self.http_binding(route))

    def check_payload(self, invocation: Invocation) -> None:
        """Raise PayloadInvalid for a payload that does not fit."""
        self.build_binder()(invocation)

    def check_batch(self) -> None:
        """Raise DeclarationError if it does not take batches."""
        self.build_batch_binder()

    def _named(self, kind: str) -> str | None:
        return next((one.name for one in self.parameters if one.kind == kind), None)


def compile_signature(handler: Function, resources: Collection[type] = ()) -> Signature:
    """Read the signature of a handler: a function, a bound method or a callable object.

    A parameter annotated with one of the `resources`, or with what they derive from, wants that
    resource. Raises DeclarationError, with advice, for what can never be called with a payload.
    """
    target = function_of(handler)
    function = name_of(handler)
    hints = hints_of(target, function)
    parameters = read_parameters(function, parameters_of(handler), hints, resources)
    is_stream = _is(handler, target, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    is_async = _is(handler, target, inspect.isasyncgenfunction, inspect.iscoroutinefunction)
    returns = hints.get("return", Any)
    item_type = yielded_type(returns) if is_stream else returned_type(returns)
    item_adapter = _output(function, item_type)
    verb = "yielded" if is_stream else "returned"
    encode_item = encoder_of(function, item_type, item_adapter, verb)
    result_type: Any = GenericAlias(list, (item_type,)) if is_stream else item_type
    result_adapter = _output(function, result_type) if is_stream else item_adapter
    return Signature(
        function,
        parameters,
        payload_of(function, taken_by_name(parameters)),
        is_async,
        is_stream,
        result_type,
        item_type,
        result_adapter,
        item_adapter,
        encoder_of(function, result_type, result_adapter) if is_stream else encode_item,
        encode_item,
    )


def _is(handler: Function, target: Function, *kinds: Callable[[Function], bool]) -> bool:
    """Whether either is of one of the kinds: a decorator may hide what a handler is, or be it."""
    return any(kind(one) for kind in kinds for one in (handler, target))


def _output(function: str, annotation: Any) -> TypeAdapter[Any]:
    def refuse(why: str) -> DeclarationError:
        return DeclarationError(f"{function}() -> {format_type(annotation)}: {why}")

    return adapter_of(
        annotation,
        refuse,
        "it has no JSON form: return a pydantic model, a dataclass or plain values, and to give "
        "one item after the other, yield them",
    )
