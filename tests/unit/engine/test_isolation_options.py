"""The options of functions that run in processes of their own."""

import pytest

from eventmesh.engine.context import Context
from eventmesh.model.errors import DeclarationError
from eventmesh.model.limits import parse_size
from eventmesh.service import Service


async def handler() -> None: ...


def declare(**options):
    return Service("app").function(**options)(handler).spec


def test_the_defaults():
    spec = declare(isolation="process", instances=3)
    assert (spec.runtime, spec.limits.concurrency, spec.local_concurrency) == ("process", 1, 3)
    isolation = spec.isolation
    assert (isolation.memory, isolation.provisioned, isolation.max_invocations) == (None, 0, None)
    assert isolation.idle_timeout == 300
    assert declare(isolation="process").isolation.instances >= 1
    assert declare().isolation is None


def test_what_runs_at_once():
    assert declare(isolation="process", instances=3, concurrency=4).local_concurrency == 12
    limited = declare(isolation="process", instances=3, reserved_concurrency=2)
    assert limited.local_concurrency == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "256M"}, "isolation='process' with it"),
        ({"instances": 2}, "isolation='process' with it"),
        ({"isolation": "thread"}, "write isolation='process'"),
        ({"isolation": "process", "runtime": "inline"}, "exclude each other"),
        ({"runtime": "process"}, "write isolation='process'"),
        ({"isolation": "process", "memory": "many"}, "is no size"),
        ({"isolation": "process", "memory": 0}, "is no size"),
        ({"isolation": "process", "memory": "1M"}, "needs 32M at least"),
        ({"isolation": "process", "instances": 0}, "1 or more"),
        ({"isolation": "process", "instances": True}, "1 or more"),
        ({"isolation": "process", "instances": 2, "provisioned": 3}, "from 0 to instances=2"),
        ({"isolation": "process", "provisioned": -1}, "from 0 to"),
        ({"isolation": "process", "max_invocations": 0}, "1 or more"),
        ({"isolation": "process", "idle_timeout": "soon"}, "idle_timeout"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        declare(**options)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (1024, 1024),
        (" 4096 ", 4096),
        ("256M", 256 * 2**20),
        ("256 MiB", 256 * 2**20),
        ("1.5g", 3 * 2**29),
        ("64kb", 64 * 2**10),
    ],
)
def test_sizes(given, size):
    assert parse_size(given, "memory") == size


async def opens(order: str, ctx: Context) -> None:
    if order:
        async with ctx.transaction(key=order):
            pass


async def opens_inside(context: Context) -> None:
    async def book() -> None:
        async with context.transaction():
            pass

    await book()


class Opens:
    async def __call__(self, ctx: Context) -> None:
        async with ctx.transaction():
            pass


class Database:
    def transaction(self) -> None: ...


async def opens_another(ctx: Context, order: str) -> None:
    database = Database()
    database.transaction()
    await ctx.send("bills.book", order)


@pytest.mark.parametrize("handler", [opens, opens_inside, Opens()])
def test_a_transaction_in_its_code_is_refused(handler):
    service = Service("shop")
    with pytest.raises(DeclarationError, match=r"transaction\(\) cannot be used.*isolation="):
        service.function(isolation="process", name="place")(handler)
    service.function(name="place")(handler)


def test_the_transaction_of_something_else_is_its_own():
    Service("shop").function(isolation="process")(opens_another)
