"""The functions that the APIs know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from eventmesh.engine.spec import FunctionSpec, function_info
from eventmesh.model.topology import QUEUE_SCHEME

FunctionDirectory: TypeAlias = Callable[[], Mapping[str, Mapping[str, Any]]]
"""Gives the known functions by name, each as `function_info`."""


def is_public(directory: FunctionDirectory, name: str) -> bool:
    """Whether a known function may be called by its name without a scope: see `CallPolicy`."""
    return directory().get(name, {}).get("access") == "public"


def is_limited_in_mesh(directory: FunctionDirectory, name: str) -> bool:
    """Whether a known function has a `reserved_concurrency`."""
    return directory().get(name, {}).get("limits", {}).get("reserved_concurrency") is not None


def declares_queue(directory: FunctionDirectory, name: str) -> bool:
    """Whether a known function takes messages from the queue, or sends its outcomes there."""
    destination = f"{QUEUE_SCHEME}{name}"
    return any(
        destination in (function.get("on_success"), function.get("on_failure"))
        or any(_takes_from(trigger, name) for trigger in function.get("triggers", ()))
        for function in directory().values()
    )


def _takes_from(trigger: Mapping[str, Any], name: str) -> bool:
    """Whether a trigger, as announced, is `on.queue(name)`: see `QueueTrigger.describe`."""
    description = str(trigger.get("description", ""))
    return trigger.get("kind") == "queue" and (
        description == f"queue {name}" or description.startswith(f"queue {name} (batches of ")
    )


def list_functions(functions: Mapping[str, FunctionSpec]) -> Mapping[str, Mapping[str, Any]]:
    """List the functions of this process as a directory has them."""
    return {name: function_info(function) for name, function in functions.items()}
