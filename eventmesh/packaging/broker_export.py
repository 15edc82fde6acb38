"""Collects what services may do from their declarations, and writes it down for RabbitMQ."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

from eventmesh.brokers.rabbitmq.access.definitions import (
    build_definitions,
    control_script,
    to_json,
)
from eventmesh.brokers.rabbitmq.access.permissions import (
    Permissions,
    Rights,
    gateway_permissions,
    operator_permissions,
    permissions,
)
from eventmesh.engine.spec import FunctionSpec
from eventmesh.model.errors import SettingsError
from eventmesh.model.topology import EVENT_SCHEME, format_destination
from eventmesh.service import Service
from eventmesh.targets.parse import Target
from eventmesh.targets.services import load_services
from eventmesh.triggers.event import EventTrigger
from eventmesh.triggers.queue import QueueTrigger

GATEWAY: Final = "gateway"
OPERATOR: Final = "operator"
"""The user of the command line: of `ps`, `doctor`, `dlq` and `prune`."""

RESERVED: Final = (GATEWAY, OPERATOR)
"""Users that are no services. Services are to believe both, in EVENTMESH_GATEWAYS."""

_TOPOLOGY: Final = ("vhosts", "exchanges", "bindings")


def rights_of(service: Service) -> Rights:
    """Return what a service is and does, as its code declares it.

    What it sends outcomes to counts as called and emitted, and so do its own functions.
    """
    specs = service.specs
    outcomes = [destination for spec in specs for destination in _outcomes(spec)]
    events = [each.removeprefix(EVENT_SCHEME) for each in outcomes if each.startswith(EVENT_SCHEME)]
    called = [each for each in outcomes if not each.startswith(EVENT_SCHEME)]
    outgoing = service.outgoing
    subscriptions = [
        (spec, trigger)
        for spec in specs
        for trigger in spec.triggers
        if isinstance(trigger, EventTrigger)
    ]
    queues = [
        trigger for spec in specs for trigger in spec.triggers if isinstance(trigger, QueueTrigger)
    ]
    own = [spec.full_name for spec in specs]
    return Rights(
        service.name,
        tuple(own),
        queues=_once(each.queue.name for each in queues if each.declare),
        foreign_queues=_once(each.queue.name for each in queues if not each.declare),
        patterns=_once(pattern for _, trigger in subscriptions for pattern in trigger.patterns),
        calls=_once([*((outgoing and outgoing.calls) or ()), *called, *own]),
        emits=_once([*((outgoing and outgoing.emits) or ()), *events]),
    )


def _outcomes(spec: FunctionSpec) -> Iterator[str]:
    for route in (spec.on_success, spec.on_failure):
        if route is not None:
            yield format_destination(route)


def _once(names: Sequence[str] | Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def load_users(targets: Sequence[Target]) -> list[Service]:
    """Import the targets and return their services, each of which is to have a user of its own.

    Raises SettingsError for two services of one name, and for one that is called like another user.
    """
    # Modules may print while they are imported; that is not the result.
    with redirect_stdout(sys.stderr):
        services = load_services(targets)
    names = [service.name for service in services]
    for name in names:
        if names.count(name) > 1 or name in RESERVED:
            raise SettingsError(
                f"the service {name!r} cannot have a user of its own: "
                f"{f'the {name}' if name in RESERVED else 'another service'} has the same name; "
                "rename it"
            )
    return services


def undeclared(service: Service) -> str:
    """Return what the code of a service leaves open, and its user may therefore not; "" for none.

    In one process, and with a shared account, what is left open is allowed.
    """
    outgoing = service.outgoing
    missing = {
        "calls=[…]": ("call no other service", outgoing and outgoing.calls),
        "emits=[…]": ("emit no event", outgoing and outgoing.emits),
    }
    names = [name for name, (_, declared) in missing.items() if declared is None]
    if not names:
        return ""
    can = " and ".join(missing[name][0] for name in names)
    return (
        f"the user of {service.name!r} can {can}: its code does not declare that it does, with "
        f"Service({service.name!r}, {', '.join(names)})"
    )


def all_permissions(all_rights: Sequence[Rights]) -> list[Permissions]:
    """Return the permissions of each service's user, of the gateway's and the operator's."""
    return [
        *map(permissions, all_rights),
        gateway_permissions(GATEWAY),
        operator_permissions(OPERATOR, all_rights),
    ]


def write_broker_files(
    all_rights: Sequence[Rights], folder: Path, virtual_host: str
) -> Iterator[Path]:
    """Write definitions, a script and the users' secrets into a folder; yield each file written.

    The passwords are those of `secrets/`, where there are any, so that what has them goes on
    working; others are made. Definitions and script are replaced. Raises SettingsError for a
    secret that is not a file, or is empty.
    """
    granted = all_permissions(all_rights)
    secrets = folder / "secrets"
    for new in (folder, secrets):
        new.mkdir(mode=0o700, parents=True, exist_ok=True)
    secrets.chmod(0o700)
    passwords: dict[str, str] = {}
    for each in granted:
        file = secrets / each.user
        if _make_secret(file):
            yield file
        passwords[each.user] = _read_secret(file)
    definitions = build_definitions(virtual_host, granted, all_rights, passwords)
    topology = {name: definitions[name] for name in _TOPOLOGY}
    for name, text, mode in (
        ("definitions.json", to_json(definitions), 0o600),
        ("exchanges.json", to_json(topology), 0o600),
        ("permissions.sh", control_script(virtual_host, granted), 0o700),
    ):
        yield _replace(folder / name, text, mode)


def _make_secret(file: Path) -> bool:
    """Make a password, readable by its owner only, unless there is one."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as opened:
        opened.write(token_urlsafe(24))
    return True


def _read_secret(file: Path) -> str:
    if file.is_symlink() or not file.is_file():
        raise SettingsError(f"{file} is no file: remove it, and a new password is made")
    password = file.read_text(encoding="utf-8").strip()
    if not password:
        raise SettingsError(f"{file} is empty: remove it, and a new password is made")
    return password


def _replace(file: Path, text: str, mode: int) -> Path:
    """Write a file in place of what was there, also of a link."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
    new.replace(file)
    return file
