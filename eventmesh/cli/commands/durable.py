"""`eventmesh durable`: the executions of durable functions."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
import orjson
from rich.table import Table

from eventmesh.cli.options import url_option
from eventmesh.cli.text.output import add_row, format_age, print_json, print_table
from eventmesh.cli.with_client import with_client
from eventmesh.cli.with_store import json_option, with_store
from eventmesh.durable.event import error_fields
from eventmesh.durable.execution import ExecutionStatus
from eventmesh.durable.keeper import ExecutionFilter, Page
from eventmesh.durable.shapes import event_fields
from eventmesh.engine.executions.access import ExecutionAccess, ExecutionReport, OperationReport

if TYPE_CHECKING:
    from eventmesh.store.admin import StoreAdmin

T = TypeVar("T")

_ID = click.argument("id")
_STORE = click.option(
    "--store",
    metavar="URL",
    help="Read the store there, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE, and "
    "do not ask the mesh: that works while no service runs.",
)
_STATUSES = [status.lower() for status in get_args(ExecutionStatus)]
_PORTION = 100


@click.group()
def command() -> None:
    """Show, stop, pause and resume the executions of durable functions.

    The mesh at --url is asked, or with --store the store of its services.
    """


@command.command("list")
@click.option("--function", default="", metavar="NAME", help="Only those of a function.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(_STATUSES, case_sensitive=False),
    help="Only those with this status; may be repeated.",
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many."
)
@json_option
@url_option
@_STORE
def list_executions(
    *,
    function: str,
    statuses: tuple[str, ...],
    limit: int,
    as_json: bool,
    url: str,
    store: str | None,
) -> None:
    """List executions, the newest first."""
    wanted: Any = tuple(status.upper() for status in statuses)
    which = ExecutionFilter(function=function, statuses=wanted)

    async def find(access: ExecutionAccess) -> list[ExecutionReport]:
        found: list[ExecutionReport] = []
        after = ""
        while len(found) < limit:
            page = Page(min(_PORTION, limit - len(found)), after)
            more, after = await access.list(which, page)
            found += more
            if not after:
                break
        return found

    found = _with_access(url, store, find)
    if as_json:
        print_json([_fields(each) for each in found])
        return
    if not found:
        click.echo("No executions.")
        return
    table = Table("id", "function", "status", "age", "turns", "due in", box=None)
    now = time.time()
    for each in found:
        due = "" if each.due is None else format_age(max(each.due - now, 0.0))
        age = format_age(now - each.started)
        add_row(table, each.id, each.function, each.status, age, str(each.turns), due)
    print_table(table)


@command.command()
@_ID
@json_option
@url_option
@_STORE
def show(*, id: str, as_json: bool, url: str, store: str | None) -> None:
    """Show an execution, and what it waits for."""
    found = _with_access(url, store, lambda access: access.show(id))
    fields = _fields(found) | {"result": found.result}
    if as_json:
        print_json(fields | {"open": [_operation(each) for each in found.open]})
        return
    for name, text in fields.items():
        if text not in (None, ""):
            click.echo(f"{name:12} {text}")
    now = time.time()
    for each in found.open:
        due = "" if each.due is None else f", due in {format_age(max(each.due - now, 0.0))}"
        click.echo(f"{'open':12} {each.type} {each.name or each.id}: {each.status}{due}")
    if found.dead_letter and not found.is_ended:
        click.echo(
            f"{'waits':12} its next turn is a dead letter. See what happened (eventmesh dlq show "
            f"{found.function} {found.dead_letter}), repair it, and have it begin: eventmesh dlq "
            f"redrive {found.function} --id {found.dead_letter}"
        )
    elif found.requested and not found.is_ended:
        click.echo(
            f"{'waits':12} its next turn was asked for, and has not begun. If that stays so, look "
            f"at the dead letters (eventmesh dlq show {found.function}), and ask for it anew: "
            f"eventmesh durable resume {found.id}"
        )


@command.command()
@_ID
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=1_000, show_default=True, help="How many."
)
@json_option
@url_option
@_STORE
def history(*, id: str, limit: int, as_json: bool, url: str, store: str | None) -> None:
    """Print what happened, the oldest first. With --json, also payloads, results and errors."""

    async def find(access: ExecutionAccess) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        after = ""
        while len(events) < limit:
            page = Page(min(_PORTION, limit - len(events)), after)
            more, after = await access.history(id, page)
            events += [event_fields(each) for each in more]
            if not after:
                break
        return events

    events = _with_access(url, store, find)
    if as_json:
        print_json(events)
        return
    table = Table("event", "time", "what", "name", box=None)
    for each in events:
        name = each.get("Name", each.get("Id", ""))
        add_row(table, str(each["EventId"]), _time(each["EventTimestamp"]), each["EventType"], name)
    print_table(table)


@command.command()
@_ID
@click.option("--reason", default="", help="Why, for its history.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@url_option
@_STORE
def stop(*, id: str, reason: str, yes: bool, url: str, store: str | None) -> None:
    """End an execution. What runs may record nothing more; nothing is undone."""
    if not yes:
        click.confirm(f"Stop the execution {id} for good?", abort=True, err=True)
    _tell(_with_access(url, store, lambda access: access.stop(id, reason)))


@command.command()
@_ID
@click.option("--reason", default="", help="Why, for its history.")
@click.option("--hold-timeout", is_flag=True, help="Its timeout waits too.")
@url_option
@_STORE
def pause(*, id: str, reason: str, hold_timeout: bool, url: str, store: str | None) -> None:
    """Begin no further turn of an execution; the one that runs goes on to its end."""
    _tell(
        _with_access(url, store, lambda access: access.pause(id, reason, hold_timeout=hold_timeout))
    )


@command.command()
@_ID
@click.option("--reason", default="", help="Why, for its history.")
@url_option
@_STORE
def resume(*, id: str, reason: str, url: str, store: str | None) -> None:
    """Let an execution go on that was paused, or whose next turn does not begin."""
    _tell(_with_access(url, store, lambda access: access.resume(id, reason)))


@command.command()
@click.option("--result", metavar="JSON", help="What the callback returns; null unless given.")
@click.option("--error", metavar="TEXT", help="It fails with this message instead.")
@click.option("--heartbeat", is_flag=True, help="It is only told that it will be completed.")
@url_option
def complete(*, result: str | None, error: str | None, heartbeat: bool, url: str) -> None:
    """Complete a callback, whose id is read from standard input: it is a secret."""
    id = sys.stdin.readline().strip()
    try:
        content = None if result is None else orjson.loads(result)
    except orjson.JSONDecodeError as wrong:
        raise click.BadParameter(
            f"the result is not JSON: {wrong}", param_hint="--result"
        ) from None
    if heartbeat:
        with_client(url, lambda client: client.heartbeat(id))
    else:
        with_client(url, lambda client: client.complete(id, content, error=error))


def _with_access(url: str, store: str | None, use: Callable[[ExecutionAccess], Awaitable[T]]) -> T:
    """Return what `use` returns for the executions in a store, if one is named, or of a mesh."""
    if store is None:
        return with_client(url, lambda client: use(client.executions))

    async def run(admin: StoreAdmin) -> T:
        from eventmesh.executions.control import KeptExecutions  # noqa: PLC0415 - not for --help

        return await use(KeptExecutions(await admin.executions()))

    return with_store(store, run)


def _tell(report: ExecutionReport) -> None:
    click.echo(f"execution {report.id} is {report.status}")


def _fields(report: ExecutionReport) -> dict[str, Any]:
    return {
        "id": report.id,
        "name": report.name,
        "function": report.function,
        "version": report.version,
        "status": report.status,
        "started": _time(report.started),
        "ended": None if report.ended is None else _time(report.ended),
        "turns": report.turns,
        "operations": report.operations,
        "error": None if report.error is None else error_fields(report.error),
        "paused": None if report.paused is None else _time(report.paused),
        "pause_reason": report.pause_reason,
        "caller": report.caller,
        "principal": report.principal,
        "dead_letter": report.dead_letter,
    }


def _operation(operation: OperationReport) -> dict[str, Any]:
    return {
        "id": operation.id,
        "type": operation.type,
        "name": operation.name,
        "status": operation.status,
        "started": _time(operation.started),
        "due": None if operation.due is None else _time(operation.due),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
