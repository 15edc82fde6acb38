"""A declared function whose implementation is a Python callable."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, cast

from eventmesh.engine.binding import Signature
from eventmesh.engine.resources import Resource
from eventmesh.engine.spec import FunctionSpec, Implementation
from eventmesh.model.errors import DeclarationError

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Function(Generic[P, R_co]):
    """A Python callable with its declaration in the mesh.

    It can be called like the plain function. The schema of its declaration is its `signature`.
    """

    def __init__(
        self,
        handler: Callable[P, R_co],
        spec: FunctionSpec,
        signature: Signature,
        resources: Sequence[Resource] = (),
    ) -> None:
        """`resources` are those of its service, in the order of their declaration."""
        functools.update_wrapper(self, handler)
        self.handler = handler
        self.spec = spec
        self.signature = signature
        self.resources = resources

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<function {self.full_name}>"

    @property
    def full_name(self) -> str:
        """Its name in the mesh: "service.function"."""
        return self.spec.full_name

    @property
    def result_type(self) -> Any:
        return self.signature.result_type


AnyFunction: TypeAlias = Function[..., Any]


def require_python(function: Implementation) -> AnyFunction:
    """Return the function. Raises DeclarationError if it is not a Python callable."""
    if isinstance(function, Function):
        return cast(AnyFunction, function)
    raise DeclarationError(
        f"{function.spec.full_name} is not a Python function, and runtime="
        f"{function.spec.runtime!r} runs only those: name the runtime that it was made for"
    )
