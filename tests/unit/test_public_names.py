"""What users import: every name is there, and importing loads no more than it must."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import eventmesh
import eventmesh.auth
import eventmesh.ext

FRONT_DOORS = [eventmesh, eventmesh.ext]
"""What users import, and what packages import that extend the library."""

NOT_TO_DECLARE = [
    "aio_pika",
    "aiohttp",
    "aiormq",
    "click",
    "eventmesh.brokers",
    "eventmesh.host",
    "logging.config",
    "logging.handlers",
    "opentelemetry",
    "pamqp",
    "prometheus_client",
    "rich",
    "uvloop",
    "watchfiles",
]
"""What a service needs when it runs, and not to be declared."""


DECLARATION = """
from eventmesh import Context, Event, Retry, Service, on

app = Service("app")

@app.function(on.post("/x"), on.queue("q"), on.event("e.*"), on.cron("* * * * *"), retry=Retry(2))
async def work(ctx: Context, payload: dict | None = None) -> None: ...
"""


def loaded_by(statement, *modules):
    """Which of these modules a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*[one for one in {modules!r} if one in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return ended.stdout.split()


def imported_for_type_checkers(door):
    """The names in the block that only type checkers read, with the modules they are from."""
    tree = ast.parse(Path(door.__file__).read_text())
    (block,) = [one for one in tree.body if isinstance(one, ast.If)]
    return {
        alias.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }


@pytest.mark.parametrize("door", FRONT_DOORS)
class TestNames:
    def test_every_name_is_there(self, door):
        for name in door.__all__:
            assert getattr(door, name) is not None

    def test_the_names_are_sorted_and_listed_once(self, door):
        assert door.__all__ == sorted(set(door.__all__))

    def test_type_checkers_see_the_names_that_there_are_where_they_are(self, door):
        typed = imported_for_type_checkers(door)
        assert sorted(typed) == door.__all__
        for name, module in typed.items():
            assert getattr(door, name) is getattr(import_module(module), name)

    def test_the_names_are_shown(self, door):
        assert set(door.__all__) <= set(dir(door))

    def test_a_name_that_is_not_there_is_an_attribute_error(self, door):
        with pytest.raises(AttributeError, match="no attribute 'Servise'"):
            _ = door.Servise


@pytest.mark.parametrize("door", ["eventmesh", "eventmesh.ext"])
def test_importing_the_package_loads_nothing_but_itself(door):
    others = ["asyncio", "eventmesh.service", "logging", "orjson", "pydantic", *NOT_TO_DECLARE]
    assert loaded_by(f"import {door}", *others) == []


def test_declaring_authorizers_loads_no_server_and_no_library_for_tokens():
    names = sorted(eventmesh.auth.__all__)
    assert names == eventmesh.auth.__all__
    assert (
        loaded_by(f"from eventmesh.auth import {', '.join(names)}", "joserfc", *NOT_TO_DECLARE)
        == []
    )


def test_declaring_a_service_loads_no_broker_and_no_server():
    assert loaded_by(DECLARATION, "eventmesh.service", *NOT_TO_DECLARE) == ["eventmesh.service"]


def test_a_client_over_http_loads_no_server_until_it_is_used():
    assert loaded_by("from eventmesh import Client", "aiohttp", "eventmesh.triggers.http") == []


def test_a_worker_loads_nothing_for_a_terminal_or_for_watching_files():
    """Each costs megabytes in every worker there is."""
    assert loaded_by("import eventmesh.cli.commands._worker", "rich", "watchfiles") == []
