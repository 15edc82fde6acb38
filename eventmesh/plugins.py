"""What other packages add: runtimes, triggers, middleware and brokers, found by their names.

A package says so with an entry point of the group "eventmesh.runtimes", "eventmesh.triggers",
"eventmesh.middleware" or "eventmesh.brokers". Nothing is looked up, and nothing imported, before
something asks for a name that is not built in.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from eventmesh.model.errors import DeclarationError

RUNTIMES = "eventmesh.runtimes"
TRIGGERS = "eventmesh.triggers"
MIDDLEWARE = "eventmesh.middleware"
BROKERS = "eventmesh.brokers"


def plugin_names(group: str) -> list[str]:
    """The names that installed packages add to a group."""
    return sorted(entry_points(group=group).names)


def load_plugin(group: str, name: str) -> object | None:
    """Import what an installed package provides under a name; None if none provides it.

    Raises DeclarationError where two packages provide it, and what importing it raises.
    """
    found = {point.value: point for point in entry_points(group=group, name=name)}
    if not found:
        return None
    if len(found) > 1:
        raise DeclarationError(
            f"{name!r} is provided by several installed packages, as {' and '.join(found)} "
            f"({group}): uninstall all but one of them"
        )
    (point,) = found.values()
    provided: object = point.load()
    return provided
