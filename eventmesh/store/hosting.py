"""Opens the stores of a host's services. Without any, nothing is imported and nothing is done."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from eventmesh.abc import Broker, Transport
from eventmesh.aio.clock import Clock, sleep
from eventmesh.durable.keeper import Watch
from eventmesh.engine.idempotency import Claims
from eventmesh.engine.results import Results
from eventmesh.engine.spec import AddGauge, FunctionSpec
from eventmesh.engine.store import OwnTables, ServiceStore
from eventmesh.model.errors import StoreUnavailable
from eventmesh.model.settings import StoreMigrate

if TYPE_CHECKING:
    from eventmesh.store.database import Database
    from eventmesh.store.outbox.relay import Relay
    from eventmesh.store.results import StoreResults

_log: Final = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
"""Seconds between two tries to reach a database that is away at the start."""


class Stores:
    """The stores of the services of a host, by service, and what publishes their outboxes."""

    def __init__(self, databases: Mapping[str, Database], *, chores: bool) -> None:
        """`databases` is by service. With `chores`, what is old is dropped now and then."""
        self.databases = databases
        self._chores = chores
        self.services: dict[str, ServiceStore] = {}
        self.claims: dict[str, Claims] = {}
        """What makes requests with idempotency keys run once, by service."""
        self.results: dict[str, Results] = {}
        """What becomes of the asynchronous invocations of each service."""
        self._relays: list[Relay] = []
        self._written: list[StoreResults] = []

    @asynccontextmanager
    async def answers(self, clock: Clock, owner: str, keep: float) -> AsyncGenerator[None]:
        """Let requests with idempotency keys run once, and keep results, while entered."""
        if not self.databases:
            yield
            return
        from eventmesh.store.claims import StoreClaims  # noqa: PLC0415
        from eventmesh.store.results import StoreResults as ResultsInStore  # noqa: PLC0415

        async with AsyncExitStack() as stack:
            for database in dict.fromkeys(self.databases.values()):
                claims = StoreClaims(database, clock, owner, keep)
                await stack.enter_async_context(claims.running(chores=self._chores))
                results = ResultsInStore(database, clock, keep)
                await stack.enter_async_context(results.running(chores=self._chores))
                self._written.append(results)
                for service, each in self.databases.items():
                    if each is database:
                        self.claims[service] = claims
                        self.results[service] = results
            yield

    def find(self, service: str) -> ServiceStore | None:
        """Return the store of a service; None if it has none."""
        return self.services.get(service)

    def check(self) -> Mapping[str, str]:
        """Return why each database that cannot be used cannot be."""
        return {
            f"store {relay.place}": relay.unavailable_reason
            for relay in self._relays
            if relay.unavailable_reason
        }

    async def wait_idle(self) -> bool:
        """Wait until nothing is published, kept or claimed; False if nothing was."""
        busy = [await relay.wait_idle() for relay in self._relays]
        busy += [await results.wait_idle() for results in self._written]
        busy += [await each.wait_idle() for each in dict.fromkeys(self.databases.values())]
        return any(busy)

    def use(
        self,
        functions: Sequence[FunctionSpec],
        clock: Clock,
        trace: Callable[[Transport], Transport],
        watch: Watch | None = None,
    ) -> None:
        """Make the stores usable to handlers. `trace` wraps what carries their messages.

        `watch` gets each change of an execution.
        """
        if not self.databases:
            return
        from eventmesh.store.service_store import ServiceStore as Implementation  # noqa: PLC0415

        for service, database in self.databases.items():
            retries = {each.full_name: each.retry for each in functions if each.service == service}
            self.services[service] = Implementation(
                database, service, retries, clock, trace=trace, on_commit=self._wake, watch=watch
            )

    @asynccontextmanager
    async def relay(
        self, broker: Broker, clock: Clock, owner: str, gauge: AddGauge, *, alone: bool
    ) -> AsyncGenerator[None]:
        """Publish the outboxes while entered."""
        if not self.databases:
            yield
            return
        from eventmesh.store.outbox.relay import Relay as Implementation  # noqa: PLC0415

        async with AsyncExitStack() as stack:
            for database in dict.fromkeys(self.databases.values()):
                services = [name for name, each in self.databases.items() if each is database]
                relay = Implementation(database, services, broker, clock, owner, alone=alone)
                relay.gauge(gauge)
                self._relays.append(relay)
                await stack.enter_async_context(relay.running(chores=self._chores))
            yield

    def _wake(self) -> None:
        for relay in self._relays:
            relay.wake()


@asynccontextmanager
async def open_stores(
    urls: Mapping[str, str],
    tables: Sequence[tuple[str, OwnTables]],
    clock: Clock,
    how: StoreMigrate,
    *,
    alone: bool,
) -> AsyncGenerator[Stores]:
    """Open the stores at these URLs, by service, and bring their tables up to date.

    `tables` are the services' own, by URL: those that are missing are created, unless `how` says
    that tables are left alone.
    Services with one URL share its connections. Entering waits for a database that is away; with
    `alone`, it raises StoreUnavailable. Raises SettingsError for a URL or tables that cannot be
    used.
    """
    if not urls:
        yield Stores({}, chores=False)
        return
    from eventmesh.store.database import Database as Implementation  # noqa: PLC0415
    from eventmesh.store.urls import read_store_url  # noqa: PLC0415

    places = {url: read_store_url(url) for url in urls.values()}
    async with AsyncExitStack() as stack:
        opened: dict[str, Database] = {}
        for url, place in places.items():
            opened[url] = Implementation(place)
            stack.push_async_callback(opened[url].close)
            own = [each for at, each in tables if at == url]
            await _prepare(opened[url], own, clock, how, wait=not alone)
        # Not in a test: its clock may move on by weeks at once, and its database does not grow old.
        yield Stores({service: opened[url] for service, url in urls.items()}, chores=not alone)


async def _prepare(
    database: Database, own: Sequence[OwnTables], clock: Clock, how: StoreMigrate, *, wait: bool
) -> None:
    from eventmesh.store.migrate import create_tables, prepare_tables  # noqa: PLC0415

    pause, away = _FIRST_PAUSE, False
    while True:
        try:
            await prepare_tables(database, how)
            if own and how != "never":
                await create_tables(database, own)
        except StoreUnavailable as error:
            if not wait:
                raise
            _log.log(logging.DEBUG if away else logging.WARNING, "the start waits: %s", error)
            away = True
        else:
            break
        await sleep(clock, pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
    if away:
        _log.info("the database %s can be reached", database.url.shown)
