import time
from dataclasses import replace

import pytest

from eventmesh.cli.ps import instance_fields, presence_tables
from eventmesh.cli.text.output import print_table
from eventmesh.presence import AnnouncedRoute, Instance


def function(name, *triggers):
    described = [{"kind": trigger.split()[0], "description": trigger} for trigger in triggers]
    return {"name": name, "triggers": described}


@pytest.fixture
def instances():
    now = time.time()
    sell = function("shop.sell", "POST /sales", "event order.*")
    note = function("audit.note")
    often = Instance("b", "two", 8, now - 7200, {"shop": "1.5"}, [sell], running={"shop.sell": 3})
    return [
        replace(often, restarts=5),
        Instance("a", "one", 7, now - 90_000, {"shop": "1.4"}, [sell], running={"shop.sell": 1}),
        Instance("c", "one", 9, now, {"audit": ""}, [note], running={"audit.note": 0}),
    ]


@pytest.fixture
def shown(capsys):
    def shown(instances):
        print_table(presence_tables(instances))
        lines = capsys.readouterr().out.splitlines()
        return [
            [cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line
        ]

    return shown


def test_each_instance_and_what_all_serve_together(shown, instances):
    assert shown(instances) == [
        ["c", "one", "9", "audit", "0s", "0", "0", "0"],
        ["a", "one", "7", "shop 1.4", "1d", "0", "1", "0"],
        ["b", "two", "8", "shop 1.5", "2h", "5", "3", "0"],
        ["audit.note", "by name only", "", "1", "0", "0"],
        ["shop.sell", "POST /sales", "1.4, 1.5", "2", "4", "0"],
        ["", "event order.*", "", "", "", ""],
    ]


def test_what_waits_is_told_apart_from_what_runs(shown, instances):
    instances[0] = replace(instances[0], waiting={"shop.sell": 2})
    rows = shown(instances)
    assert rows[2][-2:] == ["3", "2"]
    assert rows[4] == ["shop.sell", "POST /sales", "1.4, 1.5", "2", "4", "2"]


def test_nobody(capsys):
    print_table(presence_tables([]))
    assert capsys.readouterr().out == "No process answers.\n"


def test_as_plain_values():
    instance = Instance(
        "a",
        "one",
        7,
        1.0,
        {"shop": "1.4"},
        [function("shop.sell")],
        [AnnouncedRoute("POST", "/sales", "shop.sell", None)],
        {"shop.sell": 2},
        {"paths": {}},
        {"shop.sell": 1},
    )
    assert instance_fields(instance) == {
        "id": "a",
        "host": "one",
        "pid": 7,
        "started": 1.0,
        "services": {"shop": "1.4"},
        "functions": [{"name": "shop.sell", "triggers": []}],
        "running": {"shop.sell": 2},
        "waiting": {"shop.sell": 1},
        "revision": "",
        "restarts": 0,
        "stand_in": False,
    }
