"""Whose messages count in the queues of leases and slots."""

import pytest

from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.model.topology import SERVICES, lease_name, record_name, slots_name


@pytest.mark.parametrize(
    ("user", "name", "owners"),
    [
        ("orders", slots_name("orders.place"), {"orders"}),
        ("orders", lease_name("orders"), {"orders"}),
        ("orders", record_name("orders"), {"orders", "operator"}),
        ("orders", slots_name("orders2.place"), set()),
        ("orders", slots_name("stock.orders"), set()),
        ("orders", lease_name("stock"), set()),
        ("place", slots_name("orders.place"), set()),
        ("em", lease_name("orders"), set()),
        ("services", SERVICES, set()),
        ("mesh", lease_name("orders"), set()),
    ],
)
def test_the_service_with_the_name_of_its_user_owns_its_queues(user, name, owners):
    management = Management(
        parse_address(f"amqp://{user}:secret@localhost?gateways=operator"), "test"
    )
    assert management.find_owners(name) == owners


def test_who_logs_in_by_a_certificate_has_a_name_that_only_rabbitmq_knows():
    address = parse_address("amqps://orders@localhost?auth=external")
    assert Management(address, "test").find_owners(lease_name("orders")) == set()
