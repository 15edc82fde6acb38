"""Which services get a database in the PostgreSQL that a deployment brings along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventmesh.deployment.config import DeployConfig
from eventmesh.deployment.model import DatabaseDeployment
from eventmesh.engine.idempotency import build_key_reader
from eventmesh.model.errors import SettingsError
from eventmesh.packaging.secret_files import POSTGRES
from eventmesh.service import Service

_RESERVED: Final = frozenset({POSTGRES, "public", "none", "template0", "template1"})
"""Users and databases that PostgreSQL has itself, or lets nobody make."""


def needs_store(service: Service) -> bool:
    """Whether the code of a service needs a store, and does not say itself where it is."""
    if service.has_store:
        return False
    specs = service.specs
    return service.tables is not None or any(
        spec.durability is not None or build_key_reader(spec) is not None for spec in specs
    )


def list_databases(services: Sequence[Service], config: DeployConfig) -> tuple[str, ...]:
    """Return the names of the services that get a database.

    Raises SettingsError for a service whose name PostgreSQL keeps for itself.
    """
    names = tuple(each.name for each in services if _gets_database(each, config))
    for name in names:
        if name.lower() in _RESERVED or name.lower().startswith("pg_"):
            raise SettingsError(
                f"the service {name!r} cannot have a database of its name, which PostgreSQL keeps "
                f"for itself: rename it, or set services.{name}.store to the secret with the URL "
                "of a database of yours"
            )
    return names


def plan_database(
    services: Sequence[Service], config: DeployConfig, *, joins: bool
) -> DatabaseDeployment | None:
    """Return the PostgreSQL that a deployment brings along, None for none.

    Raises SettingsError as `list_databases` does, and where its RabbitMQ is not its own: the
    authority, which signs the certificate of PostgreSQL, is somebody else's then.
    """
    names = list_databases(services, config)
    if not names:
        return None
    if joins or config.broker:
        raise refuse_database(names, "a deployment whose RabbitMQ is not its own")
    return DatabaseDeployment(names, config.postgres.cpus, config.postgres.memory)


def refuse_database(names: Sequence[str], what: str) -> SettingsError:
    """Return the error for services that need a database where `what` brings none."""
    return SettingsError(
        f"{', '.join(names)} {'needs' if len(names) == 1 else 'need'} a database, and {what} "
        f"brings none: set services.{names[0]}.store to the name of the secret with the URL of a "
        f"database of yours, or services.{names[0]}.database=false"
    )


def _gets_database(service: Service, config: DeployConfig) -> bool:
    given = config.task(service.name)
    if given.store is not None:
        return False
    return needs_store(service) if given.database is None else given.database
