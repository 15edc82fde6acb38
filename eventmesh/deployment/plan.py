"""Computes a deployment from what targets declare, and from what their code cannot say."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from typing import Final
from urllib.parse import unquote, urlsplit

from eventmesh.brokers.rabbitmq.access.permissions import permissions
from eventmesh.deployment.config import DeployConfig, TaskConfig
from eventmesh.deployment.databases import plan_database
from eventmesh.deployment.model import (
    ADMIN,
    HTTP,
    BrokerDeployment,
    DatabaseDeployment,
    Deployment,
    HealthCheck,
    Port,
    Scaling,
    Secret,
    ServiceDeployment,
    TaskDefinition,
    TaskImage,
)
from eventmesh.deployment.scaling import find_route, queue_targets
from eventmesh.engine.runtimes.registry import LAMBDA
from eventmesh.model.access.authorizers import Jwt, read_auth
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings, scheme_of
from eventmesh.model.value import value
from eventmesh.packaging.broker_export import (
    GATEWAY,
    OPERATOR,
    RESERVED,
    all_permissions,
    rights_of,
    undeclared,
)
from eventmesh.packaging.certificates import CA
from eventmesh.packaging.image import Image, check_image_names, image_for_target
from eventmesh.packaging.secret_files import POSTGRES, RABBITMQ, database_secret
from eventmesh.service import Service
from eventmesh.targets.parse import Target
from eventmesh.targets.services import load_services
from eventmesh.triggers.http import HttpTrigger
from eventmesh.triggers.keepers import find_keeper

DEFAULT_CPUS: Final = 1.0
DEFAULT_MEMORY: Final = 256 * 2**20
DEFAULT_MAXIMUM: Final = 10
"""Tasks of a service, where nobody says how many there may be."""

GATEWAY_CPU: Final = 60
"""Percent of its CPU at which another gateway is right: it has no queue."""

STORE_VARIABLE: Final = "EVENTMESH_STORE_FILE"


@value
class Source:
    """A service of the code, and the image that its target becomes.

    A task logs in to RabbitMQ as the user of its service, and so has only one.
    """

    image: Image
    service: Service


def load_deployment(
    targets: Sequence[Target],
    config: DeployConfig,
    name: str,
    *,
    joins: bool = False,
    managed: bool = False,
) -> Deployment:
    """Import the targets and compute their deployment; each target is a service.

    `name` is the deployment's, unless `config` has one. With `joins` its services join a mesh that
    is there, and bring no RabbitMQ, gateway or operator. With `managed` a RabbitMQ that they bring
    is run by the platform, and a public authority signs its certificate. Raises SettingsError for a
    target that cannot be imported or has several services, for two of one name, and for what
    `config` says of services that there are not, or that they cannot do.
    """
    # Modules may print while they are imported; that is not the result.
    with redirect_stdout(sys.stderr):
        sources = [Source(image_for_target(each), _service(each)) for each in targets]
    return plan_deployment(sources, config, name, joins=joins, managed=managed)


def plan_deployment(
    sources: Sequence[Source],
    config: DeployConfig,
    name: str,
    *,
    joins: bool = False,
    managed: bool = False,
) -> Deployment:
    """Compute the deployment of these services. Raises SettingsError as `load_deployment` does."""
    _check_names([source.service.name for source in sources], config)
    check_image_names(source.image for source in sources)
    broker = _broker(config, managed=managed)
    database = plan_database([source.service for source in sources], config, joins=joins or managed)
    name = config.name or name
    services = tuple(_deploy(source, config, broker, database) for source in sources)
    rights = [each.rights for each in services if each.rights]
    first = sources[0].image
    image = TaskImage(f"{name}-{GATEWAY}", first, stage=GATEWAY)
    return Deployment(
        name=name,
        registry=config.registry,
        tag=config.tag,
        domain=config.domain,
        services=services,
        gateway=None if joins else _gateway(image, config, broker),
        operator=None if joins else _operator(image, config, broker),
        broker=broker,
        permissions=tuple(map(permissions, rights) if joins else all_permissions(rights)),
        database=database,
        warnings=tuple(_warnings(sources, services)),
    )


def _service(target: Target) -> Service:
    services = load_services([target])
    if len(services) > 1:
        raise SettingsError(
            f"{target.text} has the services {', '.join(each.name for each in services)}, and a "
            "container logs in to RabbitMQ as the user of one service: name them one by one, by "
            "their variables, as in FOLDER/app.py:VARIABLE"
        )
    return services[0]


def _check_names(names: Sequence[str], config: DeployConfig) -> None:
    for name in names:
        if names.count(name) > 1 or name in (RABBITMQ, POSTGRES, *RESERVED):
            raise SettingsError(
                f"two containers would be named {name!r}: give one of the services another name"
            )
    unknown = [name for name in config.services if name not in names]
    if unknown:
        raise SettingsError(
            f"deploy.services.{unknown[0]}: there is no such service among the targets, which have "
            f"{', '.join(names)}"
        )


def _broker(config: DeployConfig, *, managed: bool) -> BrokerDeployment:
    if not config.broker:
        own = config.rabbitmq
        return BrokerDeployment(
            RABBITMQ,
            5671,
            private_authority=not managed,
            nodes=own.nodes,
            cpus=own.cpus,
            memory=own.memory,
            storage=own.storage,
        )
    try:
        parts = urlsplit(config.broker)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host:
        raise SettingsError("deploy.broker is no URL: write amqps://HOST:PORT/VHOST")
    tls = scheme_of(config.broker) == "amqps"
    return BrokerDeployment(
        host,
        port or (5671 if tls else 5672),
        own=False,
        tls=tls,
        private_authority=tls and config.private_authority,
        virtual_host=unquote(parts.path.removeprefix("/")) or "/",
    )


def _deploy(
    source: Source,
    config: DeployConfig,
    broker: BrokerDeployment,
    database: DatabaseDeployment | None,
) -> ServiceDeployment:
    service, given = source.service, config.task(source.service.name)
    stored = database is not None and service.name in database.users
    timeouts = [each.limits.timeout or 0.0 for each in service.specs]
    grace = math.ceil(max([Settings().grace, *timeouts]))
    extras = _extras(service, given, stored=stored)
    image = TaskImage(source.image.name, source.image, extras=extras)
    command = ("run", source.image.argument)
    task = _task(service.name, image, command, grace, given, broker=broker, stored=stored)
    latency = given.latency or Scaling(0, 0).latency
    queues = queue_targets(service, latency, given.duration)
    scaling = _scaling(service.name, given, find_keeper(service.specs))
    scaling = Scaling(
        scaling.minimum,
        scaling.maximum,
        queues=queues,
        latency=latency,
        duration=given.duration,
        calm=given.calm or scaling.calm,
        always_on=scaling.always_on,
        route=find_route(service),
    )
    return ServiceDeployment(task, _count(scaling, given), scaling, rights_of(service))


def _scaling(name: str, given: TaskConfig, always_on: str) -> Scaling:
    """The bounds: what is given, and around the count what is not."""
    count = 1 if given.count is None else given.count
    minimum = given.minimum if given.minimum is not None else min(count, given.maximum or count)
    maximum = given.maximum or max(DEFAULT_MAXIMUM, count, minimum)
    if minimum > maximum:
        raise SettingsError(
            f"{name}: minimum={minimum} is more than maximum={maximum}: turn them round"
        )
    if given.count is not None and not minimum <= given.count <= maximum:
        raise SettingsError(
            f"{name}: count={given.count} is not between minimum={minimum} and maximum={maximum}"
        )
    if minimum == 0 and always_on:
        raise SettingsError(
            f"{name} cannot be scaled to zero: one runs for {always_on}; write minimum=1, or leave "
            "it out"
        )
    return Scaling(minimum, maximum, always_on=always_on)


def _count(scaling: Scaling, given: TaskConfig) -> int:
    return max(scaling.minimum, 1) if given.count is None else given.count


def _gateway(image: TaskImage, config: DeployConfig, broker: BrokerDeployment) -> ServiceDeployment:
    given = config.door
    always_on = "who comes from outside"
    bounds = _scaling(GATEWAY, given, always_on)
    scaling = Scaling(
        bounds.minimum,
        bounds.maximum,
        cpu=GATEWAY_CPU,
        calm=given.calm or bounds.calm,
        always_on=always_on,
    )
    task = _task(GATEWAY, image, ("gateway",), math.ceil(Settings().grace), given, broker=broker)
    return ServiceDeployment(
        task,
        _count(scaling, given),
        scaling,
        public=True,
        hosts=(config.domain,) if config.domain else (),
    )


def _operator(image: TaskImage, config: DeployConfig, broker: BrokerDeployment) -> TaskDefinition:
    """The command line in the mesh, with a user of its own; it runs only when it is needed."""
    grace = math.ceil(Settings().grace)
    return _task(OPERATOR, image, ("--help",), grace, config.door, broker=broker, runs=False)


def _task(
    name: str,
    image: TaskImage,
    command: tuple[str, ...],
    grace: int,
    given: TaskConfig,
    *,
    broker: BrokerDeployment,
    runs: bool = True,
    stored: bool = False,
) -> TaskDefinition:
    settings = Settings()
    secrets = [Secret(name), *([Secret(CA)] if broker.private_authority else [])]
    if stored:
        secrets.append(Secret(database_secret(name)))
    if given.store:
        secrets.append(Secret(given.store, STORE_VARIABLE, given=True))
    secrets += [Secret(each, given=True) for each in given.secrets if each != given.store]
    ports = (Port(HTTP, settings.http_port), Port(ADMIN, settings.admin_port))
    return TaskDefinition(
        name=name,
        user=name,
        image=image,
        command=command,
        cpus=given.cpus or DEFAULT_CPUS,
        memory=given.memory or DEFAULT_MEMORY,
        grace=grace,
        environment=(
            ("EVENTMESH_BROKER_USERS", "per-service"),
            ("EVENTMESH_GATEWAYS", ",".join(RESERVED)),
            ("EVENTMESH_GRACE", f"{grace}s"),
            *given.environment.items(),
        ),
        secrets=tuple(secrets),
        ports=ports if runs else (),
        health=HealthCheck() if runs else None,
        egress=given.egress is not False,
    )


def _extras(service: Service, given: TaskConfig, *, stored: bool) -> tuple[str, ...]:
    """Return the extras of eventmesh that the service needs, as its declarations say."""
    declared = [service.auth]
    declared += [
        read_auth(trigger.auth, "")
        for spec in service.specs
        for trigger in spec.triggers
        if isinstance(trigger, HttpTrigger)
    ]
    needed = {
        "jwt": any(isinstance(each, Jwt) for auth in declared for each in auth or ()),
        "lambda": any(spec.runtime == LAMBDA for spec in service.specs),
        "sql": stored or given.store is not None or service.has_store,
    }
    return tuple(name for name, used in needed.items() if used)


def _warnings(sources: Sequence[Source], services: Sequence[ServiceDeployment]) -> Iterator[str]:
    for source, deployed in zip(sources, services, strict=True):
        if text := undeclared(source.service):
            yield text
        yield from _memory_warning(source.service, deployed.task)


def _memory_warning(service: Service, task: TaskDefinition) -> Iterator[str]:
    """Warn of isolated instances that together may take more than the task has."""
    most = sum(
        (spec.isolation.memory or 0) * spec.isolation.instances
        for spec in service.specs
        if spec.isolation is not None
    )
    if most > task.memory:
        yield (
            f"the instances of {service.name!r} may take {most >> 20} MiB together, and its task "
            f"has {task.memory >> 20} MiB: set services.{service.name}.memory, or fewer instances="
        )
