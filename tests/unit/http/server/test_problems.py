import json

import pytest

from eventmesh.http.server.problems import encode_problem, problem_from
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionError,
    FunctionNotFound,
    InvocationTimeout,
    PartialFailure,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    Reject,
    RetryLater,
    Throttled,
    Unauthenticated,
)

SECRET = "password=hunter2"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AccessDenied("not you"), 403),
        (Unauthenticated("who are you?"), 401),
        (FunctionNotFound("a.b"), 404),
        (PayloadTooLarge(11, 10), 413),
        (PayloadInvalid("it does not fit"), 422),
        (Throttled("full"), 429),
        (FunctionError("ValueError", SECRET, SECRET), 500),
        (Reject(SECRET), 500),
        (PartialFailure({0: SECRET}), 500),
        (BrokerUnavailable(SECRET), 503),
        (RetryLater(5, SECRET), 503),
        (InvocationTimeout(SECRET), 504),
        (Problem(418, "a teapot"), 418),
    ],
)
def test_each_failure_has_its_status_and_tells_no_internals(error, status):
    problem = problem_from(error)
    shown = encode_problem(problem, "/path")

    assert problem.status == status
    assert SECRET not in shown.decode()


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Throttled("full", 0.2), "1"),
        (Throttled("full", 2.1), "3"),
        (RetryLater(7.0), "7"),
        (RetryLater(), "1"),
        (BrokerUnavailable("away"), "1"),
    ],
)
def test_when_to_try_again_is_whole_seconds_rounded_up(error, seconds):
    assert problem_from(error).headers["Retry-After"] == seconds


def test_each_field_has_its_reason():
    errors = [{"loc": ("body", "items", 0), "msg": "Field required", "type": "missing"}]

    shown = json.loads(encode_problem(problem_from(PayloadInvalid("wrong", errors)), "/orders"))

    assert shown["errors"] == [
        {"loc": ["body", "items", 0], "msg": "Field required", "type": "missing"}
    ]


def test_a_document_has_the_members_of_rfc_9457():
    problem = Problem(409, "sold out", title="Conflict of orders", type="/problems/stock", sku="a")

    assert json.loads(encode_problem(problem, "/orders/1", "id-1")) == {
        "type": "/problems/stock",
        "title": "Conflict of orders",
        "status": 409,
        "detail": "sold out",
        "instance": "/orders/1",
        "invocation_id": "id-1",
        "sku": "a",
    }


def test_an_extension_takes_the_place_of_no_member():
    shown = json.loads(encode_problem(Problem(409, instance="/elsewhere"), "/orders/1"))

    assert shown["instance"] == "/orders/1"
    assert "detail" not in shown
