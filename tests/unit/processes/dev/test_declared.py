"""What code declares, compared with the code before it."""

import pytest
from pydantic import BaseModel

from eventmesh.model.retry import Retry
from eventmesh.processes.dev.declared import (
    MAX_CHANGED,
    MAX_CHANGES,
    MAX_TEXT,
    compare,
    declare,
)
from eventmesh.service import Service
from eventmesh.triggers import on


class Order(BaseModel):
    item: str


class LargerOrder(Order):
    count: int = 1


LargerOrder.__name__ = "Order"


def declared(*services):
    return declare(services, [spec for service in services for spec in service.specs])


def service_of(handler, *triggers, name="shop", **options):
    service = Service(name)
    service.function(*triggers, **options)(handler)
    return declared(service)


def changes(before, after):
    """What has changed of the one function that both have."""
    (function,) = compare(before, after)["functions"]
    assert function["kind"] == "changed"
    return {each["what"]: (each["before"], each["after"]) for each in function["changes"]}


async def sell(order: Order) -> str:
    """Sell something."""


def test_the_same_code_has_changed_nothing():
    assert compare(service_of(sell), service_of(sell)) == {
        "services": [],
        "functions": [],
        "more": 0,
    }


def test_services_and_functions_that_came_and_went():
    compared = compare(service_of(sell, name="shop"), service_of(sell, name="store"))
    assert [(each["name"], each["kind"]) for each in compared["services"]] == [
        ("shop", "removed"),
        ("store", "added"),
    ]
    assert [(each["name"], each["kind"]) for each in compared["functions"]] == [
        ("shop.sell", "removed"),
        ("store.sell", "added"),
    ]


def test_a_new_version_of_a_service():
    compared = compare(declared(Service("shop")), declared(Service("shop", version="2")))
    assert compared["services"] == [
        {
            "name": "shop",
            "kind": "changed",
            "changes": [{"what": "version", "before": '""', "after": '"2"'}],
            "more": 0,
        }
    ]


@pytest.mark.parametrize(
    ("options", "what", "texts"),
    [
        ({"timeout": 5}, "timeout", ("30.0", "5.0")),
        ({"concurrency": 7, "max_pending": 100}, "concurrency", ("100", "7")),
        ({"reserved_concurrency": 7}, "reserved_concurrency", ("null", "7")),
        ({"retry": Retry(attempts=9)}, "retry.attempts", ("3", "9")),
        ({"on_failure": "shop.mend"}, "on_failure", ("null", '"shop.mend"')),
    ],
)
def test_an_option(options, what, texts):
    assert changes(service_of(sell), service_of(sell, **options)) == {what: texts}


def test_a_trigger():
    before, after = service_of(sell, on.post("/sell")), service_of(sell, on.queue("sales"))
    assert changes(before, after) == {
        "triggers.POST /sell": ('"http"', None),
        "triggers.queue sales": (None, '"queue"'),
    }


def test_a_field_of_the_payload_the_result_and_the_description():
    async def other(order: LargerOrder) -> int:
        """Sell many."""

    other.__name__ = "sell"
    assert changes(service_of(sell), service_of(other)) == {
        "description": ('"Sell something."', '"Sell many."'),
        "payload.properties.count": (None, '{"default":1,"title":"Count","type":"integer"}'),
        "result.type": ('"string"', '"integer"'),
    }


def test_what_the_handler_does_is_not_compared():
    async def other(order: Order) -> str:
        """Sell something."""
        return order.item * 2

    other.__name__ = "sell"
    assert compare(service_of(sell), service_of(other))["functions"] == []


def test_what_is_told_is_bounded():
    many = {f"f{number:04}": {} for number in range(MAX_CHANGED + 5)}
    compared = compare({"services": {}, "functions": {}}, {"services": {}, "functions": many})
    assert (len(compared["functions"]), compared["more"]) == (MAX_CHANGED, 5)

    wide = {f"option {number}": "x" * 1000 for number in range(MAX_CHANGES + 3)}
    compared = compare(
        {"services": {}, "functions": {"f": {}}}, {"services": {}, "functions": {"f": wide}}
    )
    (function,) = compared["functions"]
    assert (len(function["changes"]), function["more"]) == (MAX_CHANGES, 3)
    assert all(len(each["after"]) == MAX_TEXT + 1 for each in function["changes"])
