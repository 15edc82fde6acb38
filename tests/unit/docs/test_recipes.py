"""The recipes of the guide do what their pages say."""

import hashlib
import hmac
import importlib.util
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import aiosqlite
import pytest
from pages import DOCS, snippets

from eventmesh import PayloadInvalid
from eventmesh.testing import TestMesh

USER = {"authorization": "Bearer secret"}


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Imports a file that a page shows, beside the other files of that page."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(page, name):
        for snippet in snippets(DOCS / page):
            if snippet.language == "python" and snippet.file:
                (tmp_path / snippet.file).write_text(snippet.text, "utf-8")
        file = tmp_path / name
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


class Browser:
    """Requests to a mesh, whose redirects are not followed."""

    def __init__(self, mesh, session):
        self._mesh = mesh
        self._session = session

    async def ask(self, method, path, **options):
        url = f"{self._mesh.url}{path}"
        async with self._session.request(method, url, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers, await answer.text()


@pytest.fixture
async def browse(start_mesh):
    async with aiohttp.ClientSession() as session:

        async def start(*services, **options):
            mesh = await start_mesh(*services, http=True, **options)
            return mesh, Browser(mesh, session)

        yield start


@pytest.mark.parametrize(
    ("function", "payload", "result"),
    [
        ("whole", {"sku": "tea"}, {"sku": "tea", "count": 1}),
        ("fields", {"sku": "tea"}, "1 x tea"),
        ("several", {"item": {"sku": "tea"}, "note": "hot"}, "tea hot"),
        ("double", 7, 14),
        ("size", [1], 3),
    ],
)
async def test_payloads_fill_parameters(shown, function, payload, result):
    async with TestMesh(shown("guide/functions.md", "binding.py").app) as mesh:
        assert await mesh.invoke(f"binding.{function}", payload) == result


async def test_a_constraint_is_checked(shown):
    async with TestMesh(shown("guide/functions.md", "binding.py").app) as mesh:
        with pytest.raises(PayloadInvalid, match="greater than or equal to 1"):
            await mesh.invoke("binding.fields", {"sku": "tea", "count": 0})


async def test_a_renamed_function_forwards(shown):
    async with TestMesh(shown("guide/functions.md", "renamed.py").app) as mesh:
        await mesh.send("shop.sms", {"to": "ada", "text": "hello"})
        await mesh.settle()
        assert [sent.function for sent in mesh.sent] == ["shop.sms", "shop.text_message"]


async def test_a_user_for_each_run(shown, browse):
    _, browser = await browse(shown("guide/functions.md", "notes.py").app)
    status, headers, _ = await browser.ask("POST", "/notes", json={"note": "milk"})
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    status, _, text = await browser.ask("POST", "/notes", json={"note": "milk"}, headers=USER)
    assert (status, text) == (201, '"ada"')


async def test_a_webhook_is_stored_and_then_verified(shown, browse):
    webhook = shown("guide/http.md", "webhook.py")
    mesh, browser = await browse(webhook.app, allow_failures=True)
    body = b'{"id":  "p1", "amount": 5}'
    signature = hmac.new(webhook.SECRET, body, hashlib.sha256).hexdigest()
    for given in (signature, "forged"):
        headers = {"x-signature": given}
        status, _, _ = await browser.ask("POST", "/webhooks/pay", data=body, headers=headers)
        assert status == 202
    await mesh.settle()
    assert [(event.type, event.id) for event in mesh.emitted] == [("payment.received", "p1")]
    assert [letter.reason for letter in mesh.dead_letters] == ["the signature does not match"]


async def test_a_form_signs_in(shown, browse):
    _, browser = await browse(shown("guide/http.md", "pages.py").app)
    form = {"user": "<ada>", "password": "open sesame"}
    assert (await browser.ask("GET", "/home"))[0] == 401
    assert (await browser.ask("POST", "/login", data={"user": "ada"}))[0] == 422
    status, headers, _ = await browser.ask("POST", "/login", data=form)
    assert (status, headers["Location"]) == (303, "/home")
    cookie = headers["Set-Cookie"].partition(";")[0]
    _, headers, text = await browser.ask("GET", "/home", headers={"cookie": cookie})
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert text.endswith("Hello, &lt;ada&gt;")


async def test_files_are_uploaded(shown, browse):
    _, browser = await browse(shown("guide/http.md", "pages.py").app)
    form = aiohttp.FormData()
    form.add_field("note", "not a file")
    form.add_field("file", b"\x00\r\n\xff\r", filename="cat.png")
    assert (await browser.ask("POST", "/files", data=form))[2] == '{"cat.png":5}'
    assert (await browser.ask("POST", "/files", data=b"no form"))[0] == 415


async def test_only_failed_items_of_a_batch_come_back(shown):
    invoices = shown("guide/queues.md", "invoices.py").app
    async with TestMesh(invoices, allow_failures=True) as mesh:
        for number, total in ((1, 1.0), (2, -1.0), (10, 1.0)):
            await mesh.send("queue:invoices", {"number": number, "total": total})
        await mesh.advance("1h")
        assert [retry.json["number"] for retry in mesh.retried] == [10] * 4
        assert [letter.json["number"] for letter in mesh.dead_letters] == [2, 10]


async def test_messages_of_celery(shown, capsys):
    async with TestMesh(shown("guide/queues.md", "jobs.py").app) as mesh:
        task = {"task": "tasks.notify", "id": "1"}
        later = {**task, "eta": (mesh.now + timedelta(seconds=3)).isoformat()}
        options = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        await mesh.invoke("jobs.run", [["ada"], {}, options], headers=task)
        await mesh.invoke("jobs.run", [["bob"], {"urgent": True}, options], headers=later)
        assert capsys.readouterr().out == "notified ada False\n"
        await mesh.advance("3s")
        assert capsys.readouterr().out == "notified bob True\n"


async def test_events_in_batches(shown):
    async with TestMesh(shown("guide/events.md", "sales.py").app) as mesh:
        ids = [await mesh.emit("order.placed", {"item": "tea"}) for _ in range(3)]
        await mesh.advance("5s")
        assert [sent.id for sent in mesh.sent if sent.function == "queue:sales"] == ids


async def test_an_event_counts_once(shown):
    ledger = shown("guide/retries.md", "ledger.py")
    async with asynccontextmanager(ledger.database)() as database:
        resources = {aiosqlite.Connection: database}
        async with TestMesh(ledger.app, resources=resources) as mesh:
            for _ in range(2):
                await mesh.emit("payment.received", {"amount": 5}, id="p1")
            await mesh.settle()
        booked = await database.execute_fetchall("SELECT id, amount FROM booked")
        assert list(booked) == [("p1", 5)]


async def test_what_a_retry_cannot_help_is_rejected(shown):
    async with TestMesh(shown("guide/retries.md", "picky.py").app, allow_failures=True) as mesh:
        await mesh.send("picky.charge", {"card": "stolen"})
        await mesh.settle()
        assert [letter.attempts for letter in mesh.dead_letters] == [1]


async def test_a_long_task_in_steps(shown):
    async with TestMesh(shown("guide/concurrency.md", "export.py").app) as mesh:
        await mesh.send("export.export", {"job": "7"})
        await mesh.settle()
        assert mesh.sent[-1].json == {"job": "7", "start": 900}


async def test_a_middleware_signs_in(shown, browse):
    guarded = shown("guide/middleware.md", "guarded.py")
    mesh, browser = await browse(guarded.app)
    assert (await browser.ask("GET", "/me"))[0] == 401
    assert (await browser.ask("GET", "/me", headers=USER))[2] == '"ada"'
    assert await mesh.invoke(guarded.me) == "the mesh"


async def test_calls_that_may_fail(shown):
    async with TestMesh(shown("guide/calling.md", "quotes.py").app) as mesh:
        assert await mesh.invoke("quotes.best", ["corner", "closed", "mall"]) == 4.0
        assert await mesh.invoke("quotes.first", {"shop": "closed"}) == 0.0


async def test_workflows(shown):
    async with TestMesh(shown("coming-from.md", "workflows.py").app) as mesh:
        assert await mesh.invoke("reports.add_up", {"parts": 4}) == 60
        await mesh.send("reports.start", {"report": "may", "parts": 4})
        await mesh.send("reports.fetch", {"url": "…"})
        await mesh.settle()
        reached = {sent.function for sent in mesh.sent}
        assert {"reports.finish", "reports.parse"} <= reached


async def test_a_store_of_results(shown, browse):
    mesh, browser = await browse(shown("coming-from.md", "results.py").app)
    _, headers, _ = await browser.ask("POST", "/exports", json={"rows": 3})
    await mesh.settle()
    path = f"/exports/{headers['x-eventmesh-invocation-id']}"
    assert (await browser.ask("GET", path))[2] == '"success"'
    assert (await browser.ask("GET", "/exports/unknown"))[0] == 404
