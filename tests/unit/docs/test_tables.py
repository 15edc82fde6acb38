"""The tables of the guide have every option, field and attribute."""

import inspect
import re
from typing import Unpack, get_args, get_origin

import pytest
from pages import DOCS, prose

from eventmesh import Client, Context, Event, Response, Retry, Service, ext, on
from eventmesh.testing import TestMesh

ROW = re.compile(r"^\| (`[^|]+?) \|", re.MULTILINE)


def listed(page, heading, number=0):
    """What the rows of a table under a heading name."""
    _, _, rest = prose(DOCS / page).partition(f"# {heading}\n")
    section = re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return {name for row in ROW.findall(tables[number]) for name in re.findall(r"`([^`]+)`", row)}


def options(*callables):
    """The parameters that callers name."""
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found: set[str] = set()
    for one in callables:
        for name, parameter in inspect.signature(one, eval_str=True).parameters.items():
            if parameter.kind in kinds:
                found.add(name)
            elif get_origin(parameter.annotation) is Unpack:
                (unpacked,) = get_args(parameter.annotation)
                found |= unpacked.__annotations__.keys()
    return found - {"self"}


def attributes(kind):
    """The public properties and slots of a class itself."""
    own = {name for name, value in vars(kind).items() if isinstance(value, property)}
    return own | {name for name in kind.__slots__ if not name.startswith("_")}


ON_ROUTE = options(on.get, on.post, on.put, on.patch, on.delete, on.any)
ON_TIME = options(on.every, on.cron, on.at)


@pytest.mark.parametrize(
    ("page", "heading", "number", "names"),
    [
        ("guide/functions.md", "Service", 0, options(Service)),
        ("guide/functions.md", "Options", 0, options(Service.function)),
        ("guide/functions.md", "Context", 0, attributes(Context)),
        ("guide/http.md", "Routes", 0, ON_ROUTE),
        ("guide/http.md", "Response", 0, options(Response)),
        ("guide/queues.md", "Queues and batches", 0, options(on.queue)),
        ("guide/events.md", "Types and patterns", 1, options(on.event)),
        ("guide/events.md", "What the function gets", 0, options(Event)),
        ("guide/timers.md", "Timers", 0, ON_TIME),
        ("guide/retries.md", "Retry", 0, options(Retry)),
        ("guide/calling.md", "invoke", 0, options(Client.invoke)),
        ("guide/calling.md", "send", 0, options(Client.send)),
        ("guide/testing.md", "Testing", 0, options(TestMesh)),
    ],
)
def test_a_table_is_complete(page, heading, number, names):
    assert listed(page, heading, number) >= names


def test_the_names_for_packages_that_extend_the_library_are_listed():
    _, _, names = (DOCS / "extending.md").read_text("utf-8").partition("## Names\n")
    rows = re.findall(r"^\| \w+ \| (.*) \|$", names, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} >= {*ext.__all__}
