"""How the bodies of a batch become the list that a handler takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, get_args, get_origin

from pydantic import ValidationError

from eventmesh.engine.binding.annotations import adapter_of, refusal, strip_optional
from eventmesh.engine.binding.parameters import Parameter, taken_by_name
from eventmesh.engine.codecs.json import function_error, payload_error
from eventmesh.model.errors import DeclarationError, InvocationError


class BoundBatch(NamedTuple):
    """A validated batch: the arguments of a handler, and the items that are not among them.

    `arguments` has the list of the good items, `indexes` says where each of them stood in the
    batch, and `failures` why the others, by their indexes there, are not good: a PayloadInvalid, or
    a FunctionError where a validator of the user's own failed itself.
    """

    arguments: dict[str, Any]
    indexes: list[int]
    failures: dict[int, InvocationError]


BatchBinder: TypeAlias = Callable[[Sequence[bytes]], BoundBatch]
"""Validates each body by itself: one that does not fit keeps no other from being run."""


def batch_binder(function: str, parameters: Sequence[Parameter]) -> BatchBinder:
    """What fills the one list that a handler takes. DeclarationError if it takes none."""
    parameter = _only(function, parameters)
    name = parameter.name
    validate = _item_validator(function, parameter)

    def bind(bodies: Sequence[bytes]) -> BoundBatch:
        items: list[Any] = []
        batch = BoundBatch({name: items}, [], {})
        for index, body in enumerate(bodies):
            try:
                items.append(validate(body))
            except ValidationError as error:
                batch.failures[index] = payload_error(error, "the payload")
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this item's
                batch.failures[index] = function_error(error)
            else:
                batch.indexes.append(index)
        return batch

    return bind


def _only(function: str, parameters: Sequence[Parameter]) -> Parameter:
    taken = taken_by_name(parameters)
    if len(taken) != 1:
        raise DeclarationError(
            f"{function}() cannot take batches, it has {len(taken)} parameters for the payload: "
            "write one, annotated as the list of the items, and nothing else but the Context and "
            "resources"
        )
    (parameter,) = taken.values()
    return parameter


def _item_validator(function: str, parameter: Parameter) -> Callable[[bytes], Any]:
    def refuse(why: str) -> DeclarationError:
        return refusal(function, parameter.name, parameter.annotation, why)

    annotation = strip_optional(parameter.annotation)
    if (get_origin(annotation) or annotation) not in (list, Sequence):
        raise refuse("a batch is a list: annotate it as list[...] of what one message has")
    (item,) = get_args(annotation) or (Any,)
    if strip_optional(item) is bytes:
        return bytes
    validate = adapter_of(item, refuse, "an item cannot be validated").validator.validate_json
    return lambda body: validate(body or b"null")
