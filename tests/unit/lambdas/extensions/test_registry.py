"""The Extensions API: who may register, and for what."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eventmesh import Service
from eventmesh.lambdas.api.server import Request
from eventmesh.lambdas.extensions.registry import MAX_EXTENSIONS, ROOT, Extensions

REGISTER = ROOT + "register"
NEXT = ROOT + "event/next"


class Replies:
    owner = 1
    is_open = True

    def __init__(self):
        self.answers = []

    def send(self, answer):
        self.answers.append(answer)


@pytest.fixture
def function():
    folder = Path(__file__).parent
    return Service("shop").lambda_function(
        "f", code=folder, handler="app.handler", runtime="provided"
    )


@pytest.fixture
def errors():
    return []


@pytest.fixture
def extensions(function, errors):
    return make(function, errors)


def make(function, errors):
    def nothing(*_):
        """Nobody looks."""

    return Extensions(
        function, ["outer"], on_change=nothing, on_register=nothing, on_error=errors.append
    )


def ask(extensions, path, method="POST", body=b"", **headers):
    replies = Replies()
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    extensions.answer(Request(method, path, names, body, len(body)), replies)
    return replies


def register(extensions, name, *events, **headers):
    body = json.dumps({"events": events}).encode()
    (answer,) = ask(extensions, REGISTER, body=body, lambda_extension_name=name, **headers).answers
    return answer


def test_an_external_and_an_internal_one(extensions):
    assert not extensions.have_registered
    answer = register(
        extensions, "outer", "INVOKE", "SHUTDOWN", lambda_extension_accept_feature="accountId"
    )
    assert json.loads(answer.body)["accountId"] == "000000000000"
    assert extensions.have_registered
    assert extensions.has_external
    assert register(extensions, "inner", "INVOKE").status == 200
    assert not extensions.are_idle, "none has asked for an event yet"


def test_an_event_waits_for_its_question(extensions):
    id = dict(register(extensions, "outer", "INVOKE").headers)["Lambda-Extension-Identifier"]
    first = ask(extensions, NEXT, "GET", lambda_extension_identifier=id)
    assert first.answers == []
    assert extensions.are_idle
    extensions.invoke({"requestId": "1"})
    assert json.loads(first.answers[0].body) == {"eventType": "INVOKE", "requestId": "1"}
    assert not extensions.are_idle
    extensions.shut_down("spindown", 1)
    second = ask(extensions, NEXT, "GET", lambda_extension_identifier=id)
    assert second.answers == [], "it has not asked to be told of the end"


@pytest.mark.parametrize(
    ("name", "events", "status", "kind"),
    [
        ("", ["INVOKE"], 400, "Extension.InvalidExtensionName"),
        ("x" * 129, ["INVOKE"], 400, "Extension.InvalidExtensionName"),
        ("inner", ["BOOT"], 400, "Extension.InvalidEventType"),
        ("taken", ["INVOKE"], 403, "Extension.AlreadyRegistered"),
        ("inner", ["SHUTDOWN"], 403, "ShutdownEventNotSupportedForInternalExtension"),
    ],
)
def test_what_is_refused(extensions, name, events, status, kind):
    register(extensions, "taken")
    answer = register(extensions, name, *events)
    assert (answer.status, json.loads(answer.body)["errorType"]) == (status, kind)


def test_what_is_no_registration(extensions):
    (answer,) = ask(extensions, REGISTER, body=b"{", lambda_extension_name="x").answers
    assert answer.status == 400
    (answer,) = ask(extensions, NEXT, "GET", lambda_extension_identifier="?").answers
    assert answer.status == 403
    (answer,) = ask(extensions, ROOT + "exit/error").answers
    assert answer.status == 403
    (answer,) = ask(extensions, ROOT + "more").answers
    assert answer.status == 404


def test_there_are_not_too_many(extensions):
    statuses = [register(extensions, f"e{n}").status for n in range(MAX_EXTENSIONS + 1)]
    assert statuses == [200] * MAX_EXTENSIONS + [403]


def test_none_comes_after_the_start(extensions):
    extensions.is_open = False
    assert register(extensions, "late").status == 403


def test_runs_beside_each_other_are_not_told(function, errors):
    limits = replace(function.spec.limits, concurrency=2)
    shared = make(replace(function, spec=replace(function.spec, limits=limits)), errors)
    assert register(shared, "inner", "INVOKE").status == 403
    assert register(shared, "inner").status == 200


def test_an_error_is_told(extensions, errors):
    id = dict(register(extensions, "outer").headers)["Lambda-Extension-Identifier"]
    ask(
        extensions,
        ROOT + "exit/error",
        body=b'{"errorMessage": "no"}',
        lambda_extension_identifier=id,
    )
    (error,) = errors
    assert (error.type, error.message) == ("Extension.ExitError", "no")
