import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from eventmesh.model.errors import DeclarationError
from eventmesh.model.topology import (
    EVENTS,
    NAME_PREFIX,
    Binding,
    Queue,
    Route,
    broadcast,
    check_function,
    check_queue,
    check_service,
    dead_letters,
    format_destination,
    inbox,
    lease_name,
    named,
    parse_destination,
    rpc_queue,
    slots_name,
    to_function,
    to_queue,
    to_rpc,
    to_subscribers,
)

LONGEST = "s" * 63 + "." + "f" * 100


def test_all_names_of_one_function_differ_and_begin_with_the_prefix():
    names = [
        inbox("a.b").name,
        rpc_queue("a.b", 5).name,
        dead_letters("a.b").name,
        broadcast("a.b", "1").name,
        broadcast("a.b", "2").name,
        slots_name("a.b"),
        lease_name("a"),
        EVENTS,
    ]
    assert len(set(names)) == len(names)
    assert all(name.startswith(f"{NAME_PREFIX}.") for name in names)


def test_the_names_of_the_longest_function_name_fit():
    names = [
        inbox(check_function(LONGEST)).name,
        rpc_queue(LONGEST, 1).name,
        dead_letters(LONGEST).name,
        broadcast(LONGEST, "i" * 64).name,
        slots_name(LONGEST),
    ]
    assert max(map(len, names)) <= 255


def test_a_queue_says_what_it_is_for():
    assert inbox("a.b").kind == "inbox"
    assert rpc_queue("a.b", 5) == Queue("em.rpc.a.b", "rpc", max_length=5)
    assert dead_letters("a.b").kind == "dead"
    assert broadcast("a.b", "1").kind == "broadcast"
    assert named("theirs", declare=False) == Queue("theirs", "named", declare=False)


def test_queues_and_bindings_are_found_in_sets():
    bindings = [Binding(inbox(function), "x.*") for function in ("a.b", "a.c", "a.b")]
    assert len(set(bindings)) == 2


def test_a_route_names_its_end_as_users_do():
    assert to_function("a.b") == Route("", "em.inbox.a.b", name="a.b")
    assert to_rpc("a.b") == Route("", "em.rpc.a.b", name="a.b")
    assert to_queue(named("invoices")) == Route("", "invoices", name="invoices")


def test_nobody_need_have_subscribed():
    assert to_subscribers("a.b") == Route(EVENTS, "a.b", mandatory=False, name="a.b")


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("mailer.receipt", to_function("mailer.receipt")),
        ("queue:invoices", to_queue(named("invoices"))),
        ("queue:event:odd", to_queue(named("event:odd"))),
        ("event:order.placed", to_subscribers("order.placed")),
    ],
)
def test_a_destination_is_a_function_a_queue_or_an_event(target, route):
    assert parse_destination(target) == route
    assert format_destination(route) == target


@pytest.mark.parametrize(
    "target",
    [
        *("", "receipt", "mailer.", ".receipt", "a.b.c", "a b.c", "a.b-c", "1a.b", "größe.b"),
        *("a.größe", "a.b\n", "topic:x", "s" * 64 + ".f", "s." + "f" * 101),
    ],
)
def test_a_destination_that_is_none_is_refused_with_advice(target):
    with pytest.raises(DeclarationError, match=r"write 'service\.function'") as caught:
        parse_destination(target)
    assert repr(target) in str(caught.value)


@pytest.mark.parametrize("target", ["event:", "event:a..b", "event:order.*", "event:#"])
def test_an_event_to_send_has_a_type(target):
    with pytest.raises(DeclarationError, match="an event cannot have the type"):
        parse_destination(target)


NO_QUEUES = [
    *("", "q" * 256, "a\nb", "a\n", "a\x00", "\ud800", "größe"),
    *(f"a{sign}b" for sign in "!%{}*<>=?&|'\"\\"),
]


@pytest.mark.parametrize("name", NO_QUEUES)
def test_a_queue_name_is_1_to_255_plain_characters(name):
    with pytest.raises(DeclarationError, match=r"use letters from A to Z.*1 to 255"):
        check_queue(name)
    with pytest.raises(DeclarationError, match=r"use letters from A to Z.*1 to 255"):
        parse_destination(f"queue:{name}")


@pytest.mark.parametrize("name", ["amq.gen-1", "em.inbox.a.b"])
def test_a_queue_name_of_somebody_else_is_refused(name):
    with pytest.raises(DeclarationError, match="choose another name"):
        check_queue(name)


@pytest.mark.parametrize("name", ["q", "q" * 255, "amqp", "em", "invoices v2", "a_.:@#,/+-"])
def test_any_other_name_is_a_queue_s(name):
    assert check_queue(name) == name


@given(st.text(max_size=5) | st.from_regex(r"[ -~]{1,3}", fullmatch=True))
def test_whatever_may_be_a_queue_can_be_declared_and_consumed(name):
    try:
        check_queue(name)
    except DeclarationError:
        return
    for command in (commands.Queue.Declare, commands.Queue.Bind, commands.Basic.Consume):
        assert command(queue=name).queue == name


@pytest.mark.parametrize("name", ["a", "_a", "order-intake", "Orders_2", "s" * 63])
def test_a_service_name(name):
    assert check_service(name) == name
    assert check_function(f"{name}.f") == f"{name}.f"


@pytest.mark.parametrize("name", ["", "1a", "-a", "a.b", "a b", "größe", "s" * 64, "a\n"])
def test_a_service_name_that_is_none_is_refused_with_advice(name):
    with pytest.raises(DeclarationError, match="use letters, digits"):
        check_service(name)
