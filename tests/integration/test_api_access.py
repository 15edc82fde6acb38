"""Who may use the APIs: nobody beyond this machine, unless callers are authenticated."""

import asyncio
import logging
from urllib.parse import quote

import pytest
from aiohttp import ClientSession

from eventmesh import AccessDenied, Client, FunctionError, Service, on
from eventmesh.http.auth.credential_file import LOOK_SECONDS, write_credentials
from eventmesh.model.access.credentials import Credentials, Token, digest_token, new_token
from eventmesh.model.access.identity import ALL_SCOPES
from eventmesh.model.errors import SettingsError

OPEN = {"http_host": "0.0.0.0"}
SECRET = "refused sk_live_51H8x"

INVOKE = "/2015-03-31/functions/bank.refund/invocations"
ACTIONS = {
    ("POST", INVOKE, "invoke"),
    ("POST", f"{INVOKE}?async", "send"),
    ("POST", "/_eventmesh/send/bank.refund", "send"),
    ("POST", "/_eventmesh/events/payment.succeeded", "emit"),
    ("GET", "/_eventmesh/functions", "read"),
    ("GET", "/_eventmesh/functions/bank.refund", "read"),
    ("GET", "/_eventmesh/functions/bank.refund/invocations/7", "read"),
    ("GET", "/_eventmesh/dead-letters", "read"),
    ("GET", "/_eventmesh/dead-letters/bank.refund", "read"),
    ("POST", "/_eventmesh/dead-letters/bank.refund/redrive", "manage"),
    ("POST", "/_eventmesh/dead-letters/bank.refund/purge", "manage"),
    ("GET", "/_eventmesh/leftovers", "read"),
    ("GET", "/_eventmesh/leftovers/bank.audit", "read"),
    ("POST", "/_eventmesh/leftovers/bank.audit/remove", "manage"),
    ("GET", "/_eventmesh/executions", "read"),
    ("GET", "/_eventmesh/executions/7", "read"),
    ("GET", "/_eventmesh/executions/7/history", "read"),
    ("POST", "/_eventmesh/executions/7/stop", "manage"),
    ("POST", "/_eventmesh/executions/7/pause", "manage"),
    ("POST", "/_eventmesh/executions/7/resume", "manage"),
    ("POST", "/_eventmesh/callbacks", "invoke"),
}
NOTHING_THERE = ("/_eventmesh/executions/", "/_eventmesh/callbacks", "/_eventmesh/leftovers")
SPELLINGS = [
    "/_eventmesh/functions",
    "/%5Feventmesh/functions",
    "/%5feventmesh/functions",
    "/_eventmesh/%66unctions",
    "//_eventmesh/functions",
    "/./_eventmesh/functions",
    "/x/../_eventmesh/functions",
    "/_eventmesh//functions",
    "/_eventmesh/functions/",
    "/_EVENTMESH/functions",
    "/_eventmesh",
    "http://bank.example/_eventmesh/functions",
    "http://bank.example/%5Feventmesh/functions",
    "/2015-03-31/functions/bank.refund/invocations",
    "/2015-03-3%31/functions/bank.refund/invocations",
    "/docs",
    "/openapi.json",
    "/%6Fpenapi.json",
    "/metrics",
    "/healthz",
    "/readyz",
    "/",
]


AS_WRITTEN = ("/_eventmesh/functions", "/_eventmesh/%66unctions")
"""What a proxy that compares `/_eventmesh/` finds."""


@pytest.fixture
def bank():
    bank = Service("bank")

    @bank.function
    async def refund(order: str = "") -> str:
        return f"refunded {order}"

    @bank.function
    async def boom() -> None:
        raise RuntimeError(SECRET)

    @bank.function(on.get("/rates"))
    async def rates() -> int:
        return 3

    return bank


class Credential:
    """A file with one token, whose scopes a test chooses."""

    def __init__(self, path):
        self.path = path
        self.token = new_token()

    def grant(self, *scopes, expires=None):
        token = Token("ci", digest_token(self.token), frozenset(scopes), 0.0, expires)
        write_credentials(self.path, Credentials({token.digest: token}, {}))
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def settings(self):
        return {**OPEN, "auth_file": str(self.path)}


@pytest.fixture
def credential(tmp_path):
    return Credential(tmp_path / "credentials")


def headers_for(path, headers):
    return {**headers, "X-Amz-Invocation-Type": "Event"} if path.endswith("?async") else headers


async def ask(served, method, path, headers):
    body = b"{}" if method == "POST" else None
    given = {"Content-Type": "application/json", **headers_for(path, headers)}
    async with served.http.request(method, path, data=body, headers=given) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nothing_of_ours_answers_at_an_open_address(serving, bank, method, spelling):
    async with serving(bank, **OPEN) as served:
        reader, writer = await served.connect()
        head = f"{method} {spelling} HTTP/1.1\r\nHost: bank.example\r\nContent-Length: 0\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        answer = (await asyncio.wait_for(reader.read(), 60)).decode()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(("HTTP/1.1 404 ", "HTTP/1.1 400 "))
    assert "refunded" not in answer
    assert "triggers" not in answer


@pytest.mark.parametrize("spelling", [each for each in SPELLINGS if each not in AS_WRITTEN])
async def test_the_api_answers_only_as_it_is_written(serving, bank, credential, spelling):
    allowed = credential.grant(*ALL_SCOPES)
    async with serving(bank, **credential.settings) as served:
        reader, writer = await served.connect()
        writer.write(
            f"GET {spelling} HTTP/1.1\r\nHost: bank.example\r\nConnection: close\r\n"
            f"Authorization: {allowed['Authorization']}\r\n\r\n".encode()
        )
        answer = (await asyncio.wait_for(reader.read(), 60)).decode()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(("HTTP/1.1 404 ", "HTTP/1.1 405 "))


async def test_the_routes_of_functions_are_open(serving, bank):
    async with serving(bank, **OPEN) as served:
        assert await ask(served, "GET", "/rates", {}) == (200, "3")


async def test_an_open_api_without_authentication_is_refused_at_the_start(serving, bank):
    with pytest.raises(SettingsError, match="EVENTMESH_AUTH_FILE"):
        async with serving(bank, api=True, **OPEN):
            pytest.fail("it was served")


@pytest.mark.parametrize(("method", "path", "needed"), sorted(ACTIONS))
async def test_each_action_needs_its_scope(serving, bank, credential, method, path, needed):
    allowed = credential.grant(needed)
    async with serving(bank, **credential.settings) as served:
        status, _ = await ask(served, method, path, allowed)
        # There is no such execution or callback, and nobody leaves anything at an embedded broker:
        # that is told to who may know it.
        assert status in (200, 202) or (path.startswith(NOTHING_THERE) and status in (404, 422))
    refused = credential.grant(*ALL_SCOPES - {needed})
    async with serving(bank, **credential.settings) as served:
        status, body = await ask(served, method, path, refused)
    assert status == 403
    assert needed in body


@pytest.mark.parametrize(("method", "path", "_"), sorted(ACTIONS))
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer em_wrong"},
        {"Authorization": "Basic Y2k6eA=="},
        {"Authorization": f"Bearer em_{'x' * 4000}"},
        {"Authorization": "Bearer"},
        {"Cookie": "token=em_x"},
    ],
)
async def test_nobody_gets_in_without_a_token(serving, bank, credential, method, path, _, headers):
    credential.grant(*ALL_SCOPES)
    async with serving(bank, **credential.settings) as served:
        status, body = await ask(served, method, path, headers)
    assert status == (403 if path.startswith("/2015") else 401)
    assert credential.token not in body


async def test_the_shapes_are_those_of_aws(serving, bank, credential):
    allowed = credential.grant("read")
    shapes = []
    async with serving(bank, **credential.settings) as served:
        for headers in ({}, {"Authorization": "Bearer em_x"}, allowed):
            async with served.http.post(INVOKE, headers=headers) as answer:
                shapes.append((answer.status, answer.headers["x-amzn-ErrorType"]))
    assert shapes == [
        (403, "MissingAuthenticationTokenException"),
        (403, "UnrecognizedClientException"),
        (403, "AccessDeniedException"),
    ]


async def test_a_challenge_says_how_to_authenticate(serving, bank, credential):
    credential.grant("read")
    async with serving(bank, **credential.settings) as served:
        async with served.http.get("/_eventmesh/functions") as answer:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        wrong = {"Authorization": "Bearer em_x"}
        async with served.http.get("/_eventmesh/functions", headers=wrong) as answer:
            assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_a_token_expires_and_is_revoked(serving, bank, credential, manual_clock):
    allowed = credential.grant("read", expires=manual_clock.now() + 5)
    async with serving(bank, clock=manual_clock, **credential.settings) as served:
        assert (await ask(served, "GET", "/_eventmesh/functions", allowed))[0] == 200
        await manual_clock.advance(5)
        status, body = await ask(served, "GET", "/_eventmesh/functions", allowed)
        assert (status, "has expired" in body) == (401, True)
        credential.grant("read")
        await manual_clock.advance(LOOK_SECONDS)
        assert (await ask(served, "GET", "/_eventmesh/functions", allowed))[0] == 200
        write_credentials(credential.path, Credentials({}, {}))
        await manual_clock.advance(LOOK_SECONDS)
        assert (await ask(served, "GET", "/_eventmesh/functions", allowed))[0] == 401


async def test_a_client_sends_its_token(serving, bank, credential):
    credential.grant("invoke")
    async with serving(bank, **credential.settings) as served:
        async with Client(served.url, token=credential.token) as client:
            assert await client.invoke("bank.refund", {"order": "7"}) == "refunded 7"
            with pytest.raises(AccessDenied, match="needs the scope 'send'"):
                await client.send("bank.refund", {})
        async with Client(served.url) as client:
            with pytest.raises(AccessDenied, match="eventmesh token create"):
                await client.invoke("bank.refund", {})


def test_a_token_is_no_use_over_a_broker():
    with pytest.raises(SettingsError, match="has no use for a token") as caught:
        Client("amqp://ada:hush@mq", token="em_hush")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("scopes", "settings", "shown"),
    [
        (("invoke",), {}, False),
        (("invoke", "read"), {}, True),
        (("invoke",), {"errors": "full"}, True),
    ],
)
async def test_what_a_handler_raised_is_for_those_who_may_read(
    serving, bank, credential, scopes, settings, shown
):
    allowed = credential.grant(*scopes)
    path = INVOKE.replace("refund", "boom")
    async with serving(bank, **credential.settings, **settings) as served:
        status, body = await ask(served, "POST", path, allowed)
        async with Client(served.url, token=credential.token) as client:
            with pytest.raises(FunctionError) as caught:
                await client.invoke("bank.boom")
    assert status == 200
    assert (SECRET in body, "Traceback" in body or "stackTrace" in body) == (shown, True)
    assert ("test_api_access" in body) == shown
    assert (SECRET in str(caught.value)) == shown
    assert caught.value.type == "RuntimeError"


async def test_the_api_has_a_listener_of_its_own(serving, bank, credential):
    allowed = credential.grant("read")
    async with serving(bank, **credential.settings, api_port=0) as served:
        assert (await ask(served, "GET", "/_eventmesh/functions", allowed))[0] == 404
        assert (await ask(served, "GET", "/rates", {}))[0] == 200
        async with ClientSession(served.host.addresses["api"]) as http:
            async with http.get("/_eventmesh/functions", headers=allowed) as answer:
                assert answer.status == 200
            async with http.get("/rates", headers=allowed) as answer:
                assert answer.status == 404


async def test_a_listener_on_this_machine_needs_no_token(serving, bank):
    async with (
        serving(bank, **OPEN, api_port=0) as served,
        ClientSession(served.host.addresses["api"]) as http,
        http.get("/_eventmesh/functions") as answer,
    ):
        assert answer.status == 200
        assert (await ask(served, "GET", "/_eventmesh/functions", {}))[0] == 404


@pytest.mark.parametrize(
    "header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"]
)
async def test_who_comes_through_a_proxy_is_not_of_this_machine(serving, bank, header):
    async with serving(bank) as served:
        status, body = await ask(served, "GET", "/_eventmesh/functions", {header: "198.51.100.7"})
    assert status == 403
    assert "EVENTMESH_AUTH_FILE" in body


async def test_every_action_is_in_the_audit_log(serving, bank, credential, caplog):
    caplog.set_level(logging.INFO, "eventmesh.audit")
    allowed = credential.grant("send", "manage")
    async with serving(bank, **credential.settings) as served:
        await ask(served, "POST", "/_eventmesh/send/bank.refund?id=my-7", allowed)
        await ask(served, "POST", "/_eventmesh/dead-letters/bank.refund/purge", allowed)
        await ask(served, "POST", INVOKE, allowed)
        await ask(served, "GET", f"/_eventmesh/functions/{quote('bank.refund')}", {})
    noted = [record for record in caplog.records if record.name == "eventmesh.audit"]
    assert [
        (each.action, each.target, each.principal, each.method, each.outcome.partition(":")[0])
        for each in noted
    ] == [
        ("send to", "bank.refund", "token:ci", "token", "admitted"),
        ("purge", "bank.refund", "token:ci", "token", "admitted"),
        ("invoke", "bank.refund", "token:ci", "token", "refused"),
        ("show", "bank.refund", "", "", "refused"),
    ]
    assert noted[0].id == "my-7"
    assert {each.remote for each in noted} == {"127.0.0.1"}
    assert credential.token not in caplog.text


async def test_a_repeated_id_with_another_payload_is_another_call(serving, bank):
    headers = {"amz-sdk-invocation-id": "one"}
    results = []
    async with serving(bank) as served:
        for body in (b'{"order": "ada"}', b'{"order": "mallory"}', b'{"order": "ada"}'):
            async with served.http.post(INVOKE, data=body, headers=headers) as answer:
                results.append((await answer.json(), answer.headers["x-amzn-RequestId"]))
    assert [text for text, _ in results] == ["refunded ada", "refunded mallory", "refunded ada"]
    assert results[0][1] == results[2][1] != results[1][1]


async def test_messages_go_only_to_queues_that_functions_declare(serving, bank):
    came = asyncio.Event()

    @bank.function(on.queue("payments"))
    async def pay() -> None:
        came.set()

    async with serving(bank) as served:
        assert (await ask(served, "POST", "/_eventmesh/send/queue:payments", {}))[0] == 202
        await came.wait()
        for name in ("billing", "em.inbox.bank.refund", "payments.other"):
            status, body = await ask(served, "POST", f"/_eventmesh/send/queue:{name}", {})
            assert (status, "there is no" in body) == (404, True)


async def test_sending_to_an_event_needs_the_scope_to_emit(serving, bank, credential):
    allowed = credential.grant("send")
    async with serving(bank, **credential.settings) as served:
        path = "/_eventmesh/send/event:payment.succeeded"
        status, body = await ask(served, "POST", path, allowed)
    assert (status, "'emit'" in body) == (403, True)
