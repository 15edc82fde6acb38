"""What docs/rabbitmq.md says about arguments is what is declared."""

from pathlib import Path

import pytest

from eventmesh.brokers.rabbitmq.declarations import queue_arguments
from eventmesh.model.topology import (
    broadcast,
    dead_letters,
    inbox,
    named,
    presence_queue,
    rpc_queue,
)

PAGE = Path(__file__).parents[4] / "docs" / "rabbitmq.md"
FUNCTION = "shop.place"
QUEUES = {
    "inbox": inbox(FUNCTION),
    "rpc": rpc_queue(FUNCTION, 100),
    "dead": dead_letters(FUNCTION),
    "named": named("invoices"),
    "broadcast": broadcast(FUNCTION, "i1"),
    "presence": presence_queue("i1", "ps"),
}
SAID = {
    "the default one": "",
    "`em.dead.<function>`": f"em.dead.{FUNCTION}",
    "the function's `max_pending`, at least 1": 100,
    "10⁹": 10**9,
    "60 s": 60_000,
    "300 s": 300_000,
    "7 days": 7 * 24 * 3600 * 1000,
}


def documented():
    """The arguments by the kind of queue, from the table of the section of that name."""
    section = PAGE.read_text(encoding="utf-8").partition("## Arguments")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in section.splitlines()
        if row.startswith("|")
    ]
    kinds = rows[0][1:]
    return {
        kind: {row[0].strip("`"): read(row[column]) for row in rows[2:] if row[column]}
        for column, kind in enumerate(kinds, 1)
    }


def read(cell):
    if cell in SAID:
        return SAID[cell]
    number = cell.replace(",", "")
    return int(number) if number.isdecimal() else cell


def test_every_kind_of_queue_is_there():
    assert documented().keys() == QUEUES.keys()


@pytest.mark.parametrize("kind", QUEUES)
def test_its_arguments_are_those_that_are_declared(kind):
    assert documented()[kind] == queue_arguments(QUEUES[kind])
