"""Binds the bodies of a batch to the list that a handler takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, get_args, get_origin

from pydantic import ValidationError

from eventmesh.engine.binding.annotations import build_adapter, parameter_error, strip_optional
from eventmesh.engine.binding.parameters import Parameter, payload_parameters
from eventmesh.engine.binding.payload import build_bounded_validator
from eventmesh.engine.codecs.json import function_error, payload_error
from eventmesh.model.errors import (
    DeclarationError,
    InvocationError,
    PayloadInvalid,
    PayloadTooLarge,
)
from eventmesh.model.limits import DEFAULT_MAX_NODES


class BoundBatch(NamedTuple):
    """A validated batch: the arguments of a handler, and the items that are not among them.

    `arguments` has the list of valid items, and `indexes` the index of each of them in the batch.
    `failures` has the errors of the others, by their indexes: PayloadInvalid, PayloadTooLarge, or
    FunctionError if a validator of the user's own raised another exception.
    """

    arguments: dict[str, Any]
    indexes: list[int]
    failures: dict[int, InvocationError]


BatchBinder: TypeAlias = Callable[[Sequence[bytes]], BoundBatch]
"""Validates each body by itself, so that an invalid one does not affect the others."""


def build_batch_binder(
    function: str, parameters: Sequence[Parameter], max_nodes: int = DEFAULT_MAX_NODES
) -> BatchBinder:
    """Build the binder of batches. Raises DeclarationError for a handler that takes no list."""
    parameter = _single_parameter(function, parameters)
    name = parameter.name
    validate = _build_item_validator(function, parameter, max_nodes)

    def bind(bodies: Sequence[bytes]) -> BoundBatch:
        items: list[Any] = []
        batch = BoundBatch({name: items}, [], {})
        for index, body in enumerate(bodies):
            try:
                items.append(validate(body))
            except ValidationError as error:
                batch.failures[index] = payload_error(error, "the payload")
            except (PayloadInvalid, PayloadTooLarge) as error:
                batch.failures[index] = error
            except Exception as error:  # noqa: BLE001  # any error belongs to this item
                batch.failures[index] = function_error(error)
            else:
                batch.indexes.append(index)
        return batch

    return bind


def _single_parameter(function: str, parameters: Sequence[Parameter]) -> Parameter:
    taken = payload_parameters(parameters)
    if len(taken) != 1:
        raise DeclarationError(
            f"{function}() cannot take batches: it has {len(taken)} parameters for the payload; "
            "write one, annotated as the list of the items, beside the Context and resources"
        )
    (parameter,) = taken.values()
    return parameter


def _build_item_validator(
    function: str, parameter: Parameter, max_nodes: int
) -> Callable[[bytes], Any]:
    def make_error(why: str) -> DeclarationError:
        return parameter_error(function, parameter.name, parameter.annotation, why)

    annotation = strip_optional(parameter.annotation)
    if (get_origin(annotation) or annotation) not in (list, Sequence):
        raise make_error(
            "a batch is a list: annotate it as list[...] of the payload of one message"
        )
    (item,) = get_args(annotation) or (Any,)
    if strip_optional(item) is bytes:
        return bytes
    adapter = build_adapter(item, make_error, "an item cannot be validated")
    validate = build_bounded_validator(adapter, max_nodes)
    return lambda body: validate(body or b"null")
