"""What other packages add: runtimes, triggers, middleware and brokers, found by their names.

A package says so with an entry point of one of the groups below; docs/extending.md says what each
names. Nothing is looked up, and nothing imported, before a name is asked for that is not built in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eventmesh.model.errors import DeclarationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

RUNTIMES: Final = "eventmesh.runtimes"
TRIGGERS: Final = "eventmesh.triggers"
MIDDLEWARE: Final = "eventmesh.middleware"
BROKERS: Final = "eventmesh.brokers"


def plugin_names(group: str) -> list[str]:
    """The names that installed packages add to a group."""
    # Here, because it takes longer to import than most programs take to find what is built in.
    from importlib.metadata import entry_points  # noqa: PLC0415

    return sorted(entry_points(group=group).names)


def find_plugin(group: str, name: str) -> EntryPoint | None:
    """What an installed package provides under a name; it is not imported.

    Raises DeclarationError where two packages provide it.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415

    found = {point.value: point for point in entry_points(group=group, name=name)}
    if len(found) > 1:
        raise DeclarationError(
            f"{name!r} is provided by several installed packages, as {' and '.join(found)} "
            f"({group}): uninstall all but one of them"
        )
    return next(iter(found.values()), None)


def load_plugin(group: str, name: str) -> object | None:
    """Import what an installed package provides under a name; None if none provides it.

    Raises DeclarationError where two packages provide it, or it cannot be imported.
    """
    point = find_plugin(group, name)
    if point is None:
        return None
    try:
        provided: object = point.load()
    except (ImportError, AttributeError) as error:
        raise DeclarationError(
            f"{name!r} ({group}) cannot be loaded from {point.value!r}: {error}; repair or "
            "uninstall the package that provides it"
        ) from error
    return provided
