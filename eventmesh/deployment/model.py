"""A deployment as pure data: what runs, with which limits, and what it may reach and do.

The words are those of Amazon ECS: a task is one running copy of what a `TaskDefinition` describes,
and a service keeps a number of tasks running.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from eventmesh.brokers.rabbitmq.access.permissions import Permissions, Rights
from eventmesh.clusters.labels import DEFAULT_CALM, DEFAULT_LATENCY
from eventmesh.model.value import value
from eventmesh.packaging.certificates import CA
from eventmesh.packaging.image import Image
from eventmesh.packaging.secret_files import POSTGRES, database_secret

STOP_MARGIN: Final = 10
"""Seconds beyond the grace time until a task is killed: a worker gets 5 of them."""

SECRETS_FOLDER: Final = "/run/secrets"
"""Where containers find their secrets, as files."""

OUTSIDE: Final = "outside"
"""Everything beyond the deployment, in a `Connection`."""

MONITORING: Final = "monitoring"
"""What asks tasks for metrics and health, in a `Connection`."""

HTTP: Final = "http"
ADMIN: Final = "admin"
"""The names of the ports of a task: its routes, and its metrics and health."""


@value
class Port:
    """A TCP port on which a task listens."""

    name: str
    number: int


@value
class HealthCheck:
    """A command that ends with 0 while a task is ready. Times are seconds.

    `ready_path` and `live_path` say over HTTP, at the port "admin", whether a task is ready, and
    whether it hangs.
    """

    command: tuple[str, ...] = ("eventmesh", "health")
    interval: int = 10
    timeout: int = 10
    start_period: int = 60
    retries: int = 3
    ready_path: str = "/readyz"
    live_path: str = "/healthz"


@value
class Secret:
    """A secret that a task gets as a file called `name`.

    `variable` is the environment variable that says where the file is, "" for none. With `given`
    somebody provides it; the others are made: passwords of the broker's users, and its authority.
    """

    name: str
    variable: str = ""
    given: bool = False


@value
class TaskImage:
    """The image of a task: its name without registry and tag, and what it is built from.

    `stage` is the stage of the Dockerfile, "" for the last one. `extras` are those of eventmesh
    that its code needs.
    """

    name: str
    source: Image
    stage: str = ""
    extras: tuple[str, ...] = ()


@value
class TaskDefinition:
    """How one task starts, and what it may take.

    `user` is its user at the broker. `memory` is bytes. `environment` has no secret, and not where
    the broker is: `Deployment.environment` adds that. `grace` is the seconds in which what runs may
    end after SIGTERM. With `egress` it may reach everything outside.
    """

    name: str
    user: str
    image: TaskImage
    command: tuple[str, ...]
    cpus: float
    memory: int
    grace: int
    environment: tuple[tuple[str, str], ...]
    secrets: tuple[Secret, ...]
    ports: tuple[Port, ...]
    health: HealthCheck | None
    egress: bool

    @property
    def stop_timeout(self) -> int:
        """Seconds from SIGTERM until it may be killed."""
        return self.grace + STOP_MARGIN

    def port(self, name: str) -> int:
        """Return the number of one of its ports. Raises KeyError for one that it has not."""
        return {port.name: port.number for port in self.ports}[name]


QueueKind: TypeAlias = Literal["inbox", "rpc", "named"]


@value
class QueueTarget:
    """A queue by whose length a service is scaled.

    One task is right for `backlog` waiting messages. `kind` "rpc" is the queue of synchronous
    callers: it is there only while a task of the service is.
    """

    queue: str
    function: str
    kind: QueueKind
    backlog: int


@value
class Scaling:
    """Between which bounds a service is scaled, and by what.

    It has the most tasks that one of `queues`, or `cpu` percent of its CPU, asks for. `latency` is
    the seconds that work may wait, and `duration` those that a run takes on average, None if nobody
    said. Tasks are taken away once fewer have been enough for `calm` seconds. `always_on` says what
    one task always runs for, "" where there may be none. `route` is an HTTP route of it, "" for
    none: its callers wait in line for a first task, where something starts that for them.
    """

    minimum: int
    maximum: int
    queues: tuple[QueueTarget, ...] = ()
    cpu: int | None = None
    latency: float = DEFAULT_LATENCY
    duration: float | None = None
    calm: float = DEFAULT_CALM
    always_on: str = ""
    route: str = ""

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to scale."""
        return self.minimum == self.maximum


@value
class ServiceDeployment:
    """A service: how many tasks of one definition run.

    `rights` is what its code declares, None for the gateway. With `public` its port "http" is
    reached from outside, under `hosts`.
    """

    task: TaskDefinition
    count: int
    scaling: Scaling
    rights: Rights | None = None
    public: bool = False
    hosts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the service, of its user, and of its task definition."""
        return self.task.name


@value
class BrokerDeployment:
    """Where the mesh's RabbitMQ is, and what it is, if it belongs to this deployment.

    With `own` the deployment brings it: `nodes` of it, each with `cpus`, `memory` bytes and
    `storage` bytes of disk. With `private_authority` its certificate is signed by the authority in
    the secret "ca.pem". `virtual_host` is a name.
    """

    host: str
    port: int
    own: bool = True
    tls: bool = True
    private_authority: bool = True
    virtual_host: str = "/"
    nodes: int = 1
    cpus: float = 2.0
    memory: int = 2**30
    storage: int = 10 * 2**30

    def url(self, user: str, secrets: str = SECRETS_FOLDER, host: str | None = None) -> str:
        """Return its URL for a user whose password is a file in the folder `secrets`."""
        options = f"password_file={secrets}/{user}"
        if self.private_authority:
            options = f"cafile={secrets}/{CA}&{options}"
        usual = self.port == (5671 if self.tls else 5672)
        place = (host or self.host) + ("" if usual else f":{self.port}")
        path = "" if self.virtual_host == "/" else quote(self.virtual_host, safe="")
        return f"{'amqps' if self.tls else 'amqp'}://{user}@{place}/{path}?{options}"


@value
class DatabaseDeployment:
    """The PostgreSQL that a deployment brings along, with `cpus` and `memory` bytes.

    In it each of `users`, which are services, has a user and a database with its name. Its
    certificate is signed by the authority in the secret "ca.pem".
    """

    users: tuple[str, ...]
    cpus: float
    memory: int
    host: str = POSTGRES
    port: int = 5432

    def url(self, user: str, secrets: str = SECRETS_FOLDER) -> str:
        """Return the URL of a user's database; its password is a file in the folder `secrets`."""
        return (
            f"postgresql://{user}@{self.host}/{user}?password_file={secrets}/"
            f"{database_secret(user)}&sslmode=verify-full&sslrootcert={secrets}/{CA}"
        )


@value
class Connection:
    """One that is allowed: a task or a place, another, and a TCP port (0 for any).

    Between tasks there is nothing but the broker and the database, so no task reaches another.
    """

    source: str
    destination: str
    port: int


@value
class Deployment:
    """All that runs in one deployment, and all that it needs.

    `services` are those of the code; `gateway` and `operator` (the command line, run when needed)
    are None for services that join another mesh. `permissions` are those of all users at the
    broker. `database` is None where no service needs one. `warnings` are for whoever deploys.
    `registry` is "" for images of this machine.
    """

    name: str
    registry: str
    tag: str
    domain: str
    services: tuple[ServiceDeployment, ...]
    gateway: ServiceDeployment | None
    operator: TaskDefinition | None
    broker: BrokerDeployment
    permissions: tuple[Permissions, ...]
    database: DatabaseDeployment | None = None
    warnings: tuple[str, ...] = ()

    @property
    def running(self) -> tuple[ServiceDeployment, ...]:
        """All services that keep running, the gateway first."""
        return (*([self.gateway] if self.gateway else []), *self.services)

    @property
    def tasks(self) -> tuple[TaskDefinition, ...]:
        """All task definitions: the gateway's, the operator's, and those of the services."""
        doors = [self.gateway.task] if self.gateway else []
        tools = [self.operator] if self.operator else []
        return (*doors, *tools, *(each.task for each in self.services))

    @property
    def rights(self) -> tuple[Rights, ...]:
        """What the code of each service declares."""
        return tuple(each.rights for each in self.services if each.rights)

    @property
    def databases(self) -> tuple[str, ...]:
        """The services that have a database in the deployment's own PostgreSQL."""
        return self.database.users if self.database else ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All secrets of all tasks, each once."""
        return tuple(dict.fromkeys(secret for task in self.tasks for secret in task.secrets))

    def image(self, task: TaskDefinition) -> str:
        """Return the name by which an engine pulls a task's image."""
        prefix = f"{self.registry}/" if self.registry else ""
        return f"{prefix}{task.image.name}:{self.tag}"

    def environment(self, task: TaskDefinition, secrets: str = SECRETS_FOLDER) -> dict[str, str]:
        """Return the environment of a task whose secrets are files in the folder `secrets`."""
        files = {each.variable: f"{secrets}/{each.name}" for each in task.secrets if each.variable}
        database = self.database
        stored = database and task.name in database.users and database.url(task.name, secrets)
        return {
            "EVENTMESH_BROKER": self.broker.url(task.user, secrets),
            **({"EVENTMESH_STORE": stored} if stored else {}),
            **dict(task.environment),
            **files,
        }

    def connections(self) -> Iterator[Connection]:
        """Yield the connections that are allowed; all others are not."""
        for service in self.running:
            task = service.task
            if service.public:
                yield Connection(OUTSIDE, task.name, task.port(HTTP))
            yield Connection(MONITORING, task.name, task.port(ADMIN))
        for task in self.tasks:
            yield Connection(task.name, self.broker.host, self.broker.port)
            if self.database and task.name in self.database.users:
                yield Connection(task.name, self.database.host, self.database.port)
            if task.egress:
                yield Connection(task.name, OUTSIDE, 0)
