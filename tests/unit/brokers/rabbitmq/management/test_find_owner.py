"""Whose messages count in the queues of leases and slots."""

import pytest

from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.model.topology import SERVICES, lease_name, record_name, slots_name


@pytest.mark.parametrize(
    ("user", "name", "owner"),
    [
        ("orders", slots_name("orders.place"), "orders"),
        ("orders", lease_name("orders"), "orders"),
        ("orders", record_name("orders"), "orders"),
        ("orders", slots_name("orders2.place"), ""),
        ("orders", slots_name("stock.orders"), ""),
        ("orders", lease_name("stock"), ""),
        ("place", slots_name("orders.place"), ""),
        ("em", lease_name("orders"), ""),
        ("services", SERVICES, ""),
        ("mesh", lease_name("orders"), ""),
    ],
)
def test_the_service_with_the_name_of_its_user_owns_its_queues(user, name, owner):
    management = Management(parse_address(f"amqp://{user}:secret@localhost"), "test")
    assert management.find_owner(name) == owner


def test_who_logs_in_by_a_certificate_has_a_name_that_only_rabbitmq_knows():
    address = parse_address("amqps://orders@localhost?auth=external")
    assert Management(address, "test").find_owner(lease_name("orders")) == ""
