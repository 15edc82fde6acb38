import json

import pytest
from click.testing import CliRunner

from eventmesh.cli.main import cli

APP = """
from eventmesh import Retry, Service, on

print("while it is imported")
orders = Service("orders")

@orders.function(
    on.post("/orders"), on.event("cart.*"), timeout="2m", reserved_concurrency=4,
    retry=Retry(attempts=1, jitter="none"), max_payload=1000,
    on_failure="event:order.failed", on_success="queue:done",
)
async def place(item: str) -> None: ...

@orders.function(timeout=None, concurrency=7, max_pending=3, on_success="billing.note")
async def count() -> int:
    raise RuntimeError("nothing is run")
"""


@pytest.fixture
def run(write):
    write("app.py", APP)
    return lambda *arguments: CliRunner().invoke(cli, ["list", *arguments], prog_name="eventmesh")


def test_the_table_has_functions_triggers_and_limits(run):
    shown = run("app.py")
    assert shown.exit_code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.stdout.splitlines()]
    assert [row for row in rows if row] == [
        ["orders.place", "POST /orders", "120 s, 100 at once, 4 in the mesh, 1 attempt"],
        ["", "event cart.*", ""],
        ["orders.count", "by name only", "no timeout, 7 at once, 3 attempts"],
    ]


def test_what_a_module_prints_is_no_result(run):
    shown = run("app.py", "--json")
    assert "while it is imported" in shown.stderr
    assert "while it is imported" not in shown.stdout


def test_json_has_every_option(run):
    (service,) = json.loads(run("app.py", "--json").stdout)
    assert service["service"] == "orders"
    place, count = service["functions"]
    assert place == {
        "name": "orders.place",
        "service": "orders",
        "triggers": [
            {"kind": "http", "description": "POST /orders"},
            {"kind": "event", "description": "event cart.*"},
        ],
        "limits": {
            "timeout": 120,
            "concurrency": 100,
            "reserved_concurrency": 4,
            "max_pending": 100,
            "max_payload": 1000,
            "max_nodes": 200_000,
        },
        "retry": {
            "attempts": 1,
            "initial": 1,
            "factor": 2,
            "maximum": 300,
            "jitter": "none",
            "max_age": 21600,
        },
        "access": "mesh",
        "callers": [],
        "durable": False,
        "on_success": "queue:done",
        "on_failure": "event:order.failed",
    }
    limits = count["limits"]
    assert (limits["timeout"], limits["concurrency"], limits["max_pending"]) == (None, 7, 3)
    assert (count["triggers"], count["on_success"], count["on_failure"]) == (
        [],
        "billing.note",
        None,
    )


def test_several_targets(run, write):
    write("other.py", "from eventmesh import Service\nbilling = Service('billing')")
    listed = json.loads(run("app.py", "other.py", "--json").stdout)
    assert [service["service"] for service in listed] == ["orders", "billing"]


def test_a_target_that_fails_is_one_message_with_the_users_line(run, write):
    write("broken.py", "import app\napp.nothing()\n")
    shown = run("broken.py")
    assert shown.exit_code == 2
    assert shown.stdout == ""
    reason = "AttributeError: module 'app' has no attribute 'nothing'"
    assert shown.stderr.splitlines()[-4:] == [
        f"Error: broken.py cannot be imported: {reason}",
        "",
        "  broken.py:2",
        "    app.nothing()",
    ]


def test_no_target_is_wrong_usage(run):
    shown = run()
    assert shown.exit_code == 2
    assert "Missing argument 'TARGET...'" in shown.stderr
