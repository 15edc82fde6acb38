"""Announcements that any process of the mesh may write."""

import json

import pytest

from eventmesh.presence.instance import MAX_ANNOUNCEMENT, read_instance

FUNCTION = {
    "name": "shop.sell",
    "triggers": [{"kind": "event", "description": "event order.*"}],
    "limits": {"max_pending": 100},
}
GOOD = {
    "id": "one",
    "host": "web1",
    "pid": 7,
    "started": 50.0,
    "services": {"shop": "1"},
    "functions": [FUNCTION],
    "endpoints": [{"method": "GET", "path": "/", "function": "shop.sell", "timeout": 3.0}],
}


def announced(**changed):
    return json.dumps(GOOD | changed).encode()


def test_what_a_process_announces():
    instance = read_instance(announced(), now=100.0)
    assert (instance.id, instance.started) == ("one", 50.0)
    assert instance.functions[0]["name"] == "shop.sell"


@pytest.mark.parametrize("started", [9e15, 100.1, -1.0, float("nan")])
def test_nobody_started_in_the_future(started):
    assert read_instance(announced(started=started), now=100.0).started == 100.0


@pytest.mark.parametrize(
    "changed",
    [
        {"functions": [{}]},
        {"functions": [{**FUNCTION, "name": 7}]},
        {"functions": [{**FUNCTION, "triggers": [{}]}]},
        {"functions": [{**FUNCTION, "triggers": [{"description": 7}]}]},
        {"functions": [{**FUNCTION, "triggers": "all"}]},
        {"functions": [{**FUNCTION, "limits": {}}]},
        {"functions": [{**FUNCTION, "limits": {"max_pending": "many"}}]},
        {"functions": [{**FUNCTION, "name": "payments.pay"}]},
        {"endpoints": [{**GOOD["endpoints"][0], "function": "payments.pay"}]},
        {"endpoints": [{}]},
        {"services": ["shop"]},
        {"started": "yesterday"},
        {"running": {"shop.sell": "many"}},
        {"pid": None},
    ],
)
def test_what_is_not_right_is_refused(changed):
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind, the message is for a log
        read_instance(announced(**changed), now=100.0)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_none_is_refused(body):
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        read_instance(body, now=100.0)


def test_one_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="may have"):
        read_instance(announced(host="x" * MAX_ANNOUNCEMENT), now=100.0)
