"""The functions that the APIs know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from eventmesh.engine.spec import FunctionSpec, function_info

FunctionDirectory: TypeAlias = Callable[[], Mapping[str, Mapping[str, Any]]]
"""Gives the known functions by name, each as `function_info`."""


def is_public(directory: FunctionDirectory, name: str) -> bool:
    """Whether a known function may be called by its name without a scope: see `CallPolicy`."""
    return directory().get(name, {}).get("access") == "public"


def list_functions(functions: Mapping[str, FunctionSpec]) -> Mapping[str, Mapping[str, Any]]:
    """List the functions of this process as a directory has them."""
    return {name: function_info(function) for name, function in functions.items()}
