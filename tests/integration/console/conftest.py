"""The console's page in a browser, with a server that answers what a test says."""

import time

import pytest
from console_data import (
    EVENT,
    HTTP,
    SCHEMA,
    answer_letters,
    make_events,
    make_execution,
    make_letter,
    make_run,
    make_save,
    make_timer,
)
from console_login import Browser, open_console
from fake_console import FakeConsole, make_function
from fake_oidc import FakeProvider
from playwright.async_api import expect
from waiting import DEADLINE

from eventmesh.console.sources import mesh
from eventmesh.http.auth import fetch
from eventmesh.http.auth.credential_file import write_credentials
from eventmesh.model.access.credentials import Credentials, Token, digest_token, new_token

# A browser on a busy machine: how long something takes decides no test.
expect.set_options(timeout=60_000)


@pytest.fixture(autouse=True)
def patient_console(monkeypatch):
    """Processes and providers on a busy machine: how long an answer takes decides no test."""
    monkeypatch.setattr(mesh, "LOOK_SECONDS", DEADLINE)
    monkeypatch.setattr(fetch, "FETCH_SECONDS", DEADLINE)


@pytest.fixture
def letters():
    """The dead letters of `mailer.receipt`, as a list that tests change."""
    return [make_letter("d-1"), make_letter("d-2")]


@pytest.fixture
def console(letters):
    """A mesh of three functions, in which mails fail."""
    fake = FakeConsole()
    place = make_function(
        "orders.place", triggers=[HTTP], rate=12.0, p50=0.01, p95=0.05, p99=0.1, total=1200
    )
    fake.change(
        functions={
            "orders.place": place,
            "mailer.receipt": make_function(
                "mailer.receipt", triggers=[EVENT], rate=4.0, errors=1.0, failed=3
            ),
            "pricing.quote": make_function("pricing.quote"),
        },
        edges={
            "orders.place>pricing.quote": {
                "from": "orders.place",
                "to": "pricing.quote",
                "kind": "invoke",
                "rate": None,
            }
        },
        instances={
            "i1": {
                "id": "i1",
                "host": "web-1",
                "pid": 71,
                "started": time.time() - 3600,
                "services": {"orders": "1.0", "mailer": "1.0"},
                "running": 1,
                "waiting": 0,
                "functions": ["orders.place"],
                "restarts": 2,
                "memory": 52428800,
                "revision": "",
            }
        },
        queues={
            "em.inbox.mailer.receipt": {
                "name": "em.inbox.mailer.receipt",
                "kind": "inbox",
                "function": "mailer.receipt",
                "messages": 7,
                "consumers": 1,
                "away": "",
                "oldest": None,
            }
        },
        failures={
            "mailer.receipt": {
                "function": "mailer.receipt",
                "count": 2,
                "oldest": time.time() - 50,
                "newest": time.time() - 5,
            }
        },
        code={"saved": make_save("orders.place")},
        log={"1": {"at": time.time(), "level": "INFO", "text": "INFO eventmesh: it has begun"}},
    )
    ended = [
        make_run("r-1", "orders.place", history=True),
        make_run(
            "r-2",
            "mailer.receipt",
            started=time.time() - 19.9,
            trigger="event",
            caller="orders.place",
            outcome="function_error",
            error_type="SMTPError",
            error="mailbox full",
            attempt=3,
        ),
    ]
    fake.answers = {
        "functions/orders.place": {
            **place,
            "schema": SCHEMA,
            "code": "orders.app.place",
            "description": "Place an order.",
        },
        "functions/orders.place/invoke": {"id": "r-9", "result": {"total": 450}},
        "invocations": {
            "invocations": ended,
            "running": [],
            "next": "12.5_0a",
            "history": {"keep": 604800.0, "dropped": 3, "unavailable": ""},
        },
        "invocations/r-1": {
            "id": "r-1",
            "state": "succeeded",
            "where": [],
            "chain": ended,
            "dead_letters": [],
            "detail": "It succeeded.",
        },
        "failures": lambda fake: {
            "functions": [{**it, "served": True} for it in fake.state["failures"].values()]
        },
        "failures/mailer.receipt": answer_letters(letters),
        "failures/mailer.receipt/retry": {"retried": 2},
        "failures/mailer.receipt/d-1/retry": {"id": "d-1b"},
        "failures/mailer.receipt/discard": {"discarded": 2},
        "queues/em.inbox.mailer.receipt/purge": {"purged": 7},
        "resolved": {"resolved": []},
        "timers": {
            "timers": [
                make_timer("orders.place"),
                make_timer("pricing.quote", paused=time.time() - 60),
            ],
            "incomplete": [],
        },
        "timers/orders.place/run": {"timers": [], "incomplete": []},
        "timers/orders.place/pause": {"timers": [], "incomplete": []},
        "timers/pricing.quote/resume": {"timers": [], "incomplete": []},
        "executions": {"executions": [make_execution("e-1")], "after": ""},
        "executions/e-1": make_execution("e-1"),
        "executions/e-1/history": {"events": make_events(), "more": False},
        "executions/e-1/stop": make_execution("e-1", status="STOPPED"),
        "executions/e-1/pause": make_execution("e-1", status="PAUSED"),
        "callbacks": {"id": "m-1"},
        "instances/i1/drain": {"instance": "i1", "running": 1, "waiting": 0},
        "findings": {
            "findings": [
                {
                    "level": "problem",
                    "subject": "em.inbox.orders.place",
                    "what": "nobody consumes it",
                    "advice": "start the service orders",
                },
                {"level": "ok", "subject": "broker", "what": "RabbitMQ 4.1", "advice": ""},
            ],
            "examined": time.time() - 2,
        },
    }
    return fake


@pytest.fixture
async def provider():
    """A provider of OpenID Connect."""
    fake = FakeProvider()
    async with fake.serve():
        yield fake


@pytest.fixture
async def origin(provider):
    """Where a console is to which people log in at that provider."""
    async with open_console(provider) as origin:
        yield origin


@pytest.fixture
async def visitor(origin):
    """A browser without a screen, beside that console."""
    async with Browser(origin) as browser:
        yield browser


@pytest.fixture
def make_auth_file(tmp_path):
    """Makes a file with one token; gives its path, and the token."""

    def make(name, scope):
        text = new_token()
        token = Token(name, digest_token(text), frozenset({scope}), time.time(), None)
        file = tmp_path / "auth.toml"
        write_credentials(file, Credentials({token.digest: token}, {}))
        return str(file), text

    return make
