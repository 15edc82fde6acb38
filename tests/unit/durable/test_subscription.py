"""What an execution waits for is found by the event that fits."""

from typing import Any

import pytest

from eventmesh.durable.subscription import find_subscriptions, make_subscription
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import covers

PAID: dict[str, Any] = {"order": {"id": 7, "parts": [1, 2]}, "paid": None}


def fits(pattern: str, match: dict[str, Any], subject: str = "") -> bool:
    wanted = make_subscription(pattern, match, subject)
    return wanted in find_subscriptions([wanted.shape], "payment.received", "s", PAID)


@pytest.mark.parametrize("pattern", ["payment.received", "payment.*", "#"])
@pytest.mark.parametrize(
    "match", [{}, {"order.id": 7}, {"paid": None, "order.parts": [1, 2]}, {"order": PAID["order"]}]
)
def test_an_event_that_fits_is_found(pattern: str, match: dict[str, Any]) -> None:
    assert fits(pattern, match)
    assert fits(pattern, match, "s")
    assert not fits(pattern, match, "other")


@pytest.mark.parametrize("pattern", ["payment.refused", "order.*", "*"])
def test_one_of_another_type_is_not(pattern: str) -> None:
    assert not fits(pattern, {})


@pytest.mark.parametrize(
    "match", [{"order.id": "7"}, {"order.id": True}, {"missing": None}, {"order.id.x": 7}]
)
def test_one_with_other_data_is_not(match: dict[str, Any]) -> None:
    assert not fits("payment.*", match)


def test_executions_that_wait_for_types_of_their_own_share_a_shape() -> None:
    shapes = {make_subscription(f"order.{number}.paid", {}).shape for number in range(5)}
    assert len(shapes) == 1


def test_what_cannot_be_looked_up_is_refused() -> None:
    with pytest.raises(DeclarationError, match="10 at most"):
        make_subscription("a", {str(number): 1 for number in range(11)})
    with pytest.raises(DeclarationError, match="1000 characters"):
        make_subscription("a", {"x" * 1000: 1})
    with pytest.raises(DeclarationError, match="subject="):
        make_subscription("a", {"$subject": 1})
    with pytest.raises(DeclarationError, match="not an event pattern"):
        make_subscription("a b", {})


@pytest.mark.parametrize(
    ("pattern", "other", "whether"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a.*", True),
        ("a.*", "a.#", False),
        ("a.#", "a.#", True),
        ("a.#", "a.*.c", True),
        ("a.#", "a", True),
        ("#", "#.x", True),
        ("*.b", "a.*", False),
        ("a.b", "a.*", False),
        ("a.*.#", "a.#", False),
        ("#.c", "a.*.c", True),
    ],
)
def test_a_pattern_covers_another(pattern: str, other: str, whether: bool) -> None:
    assert covers(pattern, other) is whether
