import copy
import inspect
import pickle
import re
from math import inf, nan

import pytest

from eventmesh.model import errors
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeclarationError,
    EventmeshError,
    FunctionError,
    FunctionNotFound,
    InvocationError,
    InvocationTimeout,
    PartialFailure,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    Reject,
    RetryLater,
    SettingsError,
    Signal,
    Throttled,
    Unauthenticated,
)

EXAMPLES = [
    DeclarationError("no"),
    SettingsError("no"),
    FunctionNotFound("a.b", "start it"),
    Throttled("busy", 2.5),
    InvocationTimeout("too long"),
    FunctionError("ValueError", "bad", "Traceback: …"),
    PayloadInvalid("the payload does not fit", [{"loc": ("a",), "msg": "no", "type": "x"}]),
    PayloadTooLarge(2_000_000, 1_000_000),
    AccessDenied("not you"),
    Unauthenticated("who are you?"),
    BrokerUnavailable("away"),
    RetryLater(5, "not yet"),
    Reject("broken"),
    PartialFailure({1: "bad"}),
    Problem(404, "no such order", title="Not Found", headers={"X-A": "b"}, order=7),
]


def classes():
    return {
        name: cls
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, Exception)
    }


def test_every_exception_is_in_the_tree_at_the_top():
    for name in classes():
        assert re.search(rf"\b{name}\b", errors.__doc__)


def test_every_exception_is_a_fault_or_a_signal():
    for cls in classes().values():
        assert issubclass(cls, EventmeshError) is not issubclass(cls, Signal)


def test_the_codes_of_invocation_errors_are_distinct():
    kinds = [cls for cls in classes().values() if issubclass(cls, InvocationError)]
    assert len({cls.code for cls in kinds}) == len(kinds) == 11


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("how", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_says_the_same(error, how):
    twin = how(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            FunctionNotFound("a.b"),
            "there is no 'a.b' in the mesh: check the name, and that its service is running",
        ),
        (FunctionNotFound("a.b", "start it"), "there is no 'a.b' in the mesh: start it"),
        (Throttled("the line is full", 0.5), "the line is full; try again in 0.5 s"),
        (FunctionError("ValueError", "bad"), "ValueError: bad"),
        (FunctionError("ValueError", ""), "ValueError"),
        (
            PayloadTooLarge(2_000_000, 1_000_000),
            (
                "the payload has 2,000,000 bytes, the limit is 1,000,000: "
                "send a reference to the data instead, or raise the limit"
            ),
        ),
        (
            PayloadTooLarge(2_000, 1_000, "max_payload"),
            (
                "the payload has 2,000 bytes, the limit is 1,000 (max_payload): "
                "send a reference to the data instead, or raise the limit"
            ),
        ),
        (PayloadInvalid("it does not fit"), "it does not fit"),
        (
            PayloadInvalid(
                "it does not fit",
                [
                    {"loc": ("items", 0, "price"), "msg": "not a number"},
                    {"loc": (), "msg": "not an object"},
                ],
            ),
            "it does not fit: items.0.price: not a number; payload: not an object",
        ),
        (PayloadInvalid("it does not fit", [{}]), "it does not fit: payload: invalid"),
        (RetryLater(5), "the handler asked to be called again later"),
        (RetryLater(reason="not yet"), "not yet"),
        (Reject(), "rejected by the handler"),
        (PartialFailure({1: "bad", 4: "worse"}), "failed items of the batch: 2"),
        (Problem(404, "no such order", title="Not Found"), "404 no such order"),
        (Problem(404, title="Not Found"), "404 Not Found"),
        (Problem(404), "404"),
    ],
)
def test_a_message_says_what_happened(error, text):
    assert str(error) == text


def test_the_repr_of_a_function_error_is_one_line():
    error = FunctionError("ValueError", "bad", "Traceback (most recent call last):\n  File …")
    assert repr(error) == "FunctionError('ValueError', 'bad')"


@pytest.mark.parametrize("after", [-1, nan, inf, 10**400, "30s"])
def test_retry_later_refuses_what_is_no_number_of_seconds(after):
    with pytest.raises(ValueError, match="write seconds"):
        RetryLater(after)


@pytest.mark.parametrize("status", [200, 399, 600, 404.5])
def test_a_problem_refuses_what_is_no_error_status(status):
    with pytest.raises(ValueError, match="from 400 to 599"):
        Problem(status)


def test_a_problem_carries_its_extensions():
    problem = Problem(409, "taken", type="https://example.com/taken", order=7)
    assert (problem.type, problem.extensions) == ("https://example.com/taken", {"order": 7})
