"""Loads the services that targets name.

They are all services among the global names of a module, also imported ones: a module may collect
the services of other modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from eventmesh.model.errors import SettingsError
from eventmesh.service import Service
from eventmesh.targets.importer import import_file, import_name
from eventmesh.targets.parse import Target


def load_services(targets: Sequence[Target]) -> list[Service]:
    """Import the targets and return their services, in order, each once.

    Raises SettingsError for a target that cannot be imported or has no service, and
    DeclarationError for a service that is declared wrongly.
    """
    found = [service for target in targets for service in _services(target)]
    return list(dict.fromkeys(found))


def _services(target: Target) -> list[Service]:
    module = _import_target(target)
    services = {
        name: attribute
        for name, attribute in vars(module).items()
        if isinstance(attribute, Service)
    }
    if not services:
        raise SettingsError(
            f"there is no service in {target.text}: write 'service = Service(\"name\")' at its "
            "top level and declare functions with '@service.function'"
        )
    if not target.attribute:
        return list(services.values())
    if target.attribute not in services:
        raise SettingsError(
            f"there is no service {target.attribute!r} in {target.text.rpartition(':')[0]}: "
            f"it has {', '.join(services)}"
        )
    return [services[target.attribute]]


def _import_target(target: Target) -> ModuleType:
    if isinstance(target.module, Path):
        return import_file(target.module)
    _ = target.folder  # If there is none, this error has the better message.
    return import_name(target.module)
