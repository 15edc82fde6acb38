"""Who is believed about the caller of a message."""

import pytest

from eventmesh.engine.codecs.trust import (
    Trust,
    believe,
    believe_for,
    gateways_in,
    gateways_of,
)
from eventmesh.model.message import Message
from eventmesh.model.settings import Settings

TRUST = Trust("payments", frozenset(("gateway", "operator")))


def told(sender, caller="orders.place", principal="user:ada"):
    message = believe(
        Message(b"", "id", 1.0, caller=caller, principal=principal, sender=sender), TRUST
    )
    return message.caller, message.principal


@pytest.mark.parametrize(
    ("sender", "believed"),
    [
        ("orders", ("orders.place", "")),
        ("evil", ("", "")),
        ("", ("", "")),
        ("orders.place", ("", "")),
        ("payments", ("orders.place", "user:ada")),
        ("gateway", ("orders.place", "user:ada")),
        ("operator", ("orders.place", "user:ada")),
    ],
)
def test_a_caller_is_believed_where_its_own_user_sent_the_message(sender, believed):
    assert told(sender) == believed


@pytest.mark.parametrize("sender", ["", "evil", "orders"])
def test_a_name_that_only_begins_like_the_senders_is_not_its(sender):
    assert told(sender, "orders-admin.place") == ("", "")
    assert told(sender, ".place") == ("", "")


def test_a_message_that_says_nothing_of_itself_stays_the_same():
    message = Message(b"", "id", 1.0, sender="evil")
    assert believe(message, TRUST) is message


def test_one_account_for_all_is_believed_without_a_look():
    assert believe_for(Settings(), "payments") is None


def test_with_users_for_each_service_the_settings_name_the_gateways():
    check = believe_for(Settings(broker_users="per-service", gateways=("edge",)), "payments")
    assert check is not None
    message = Message(b"", "id", 1.0, principal="user:ada", sender="edge")
    assert check(message) == message
    assert check(Message(b"", "id", 1.0, principal="user:ada", sender="gateway")).principal == ""


@pytest.mark.parametrize(
    ("url", "gateways"),
    [
        ("amqp://shop@mq", None),
        ("amqp://shop@mq?cluster=true", None),
        ("amqp://shop@mq?gateways=edge", None),
        ("amqp://shop@a:5672,b:5672/x?users=per-service", set()),
        ("amqp://shop@mq?users=per-service&gateways=edge,operator", {"edge", "operator"}),
    ],
)
def test_a_url_names_the_gateways(url, gateways):
    assert gateways_in(url) == gateways
    assert gateways_of(Settings(broker=url)) == gateways


def test_the_address_of_the_settings_names_them_too():
    settings = Settings(broker="amqp://mq", broker_users="per-service", gateways=("edge",))
    assert gateways_of(settings) == {"edge"}
    assert gateways_in(settings.broker_address) == {"edge"}
