"""Signed requests, by the clients that people have: boto3, the AWS CLI, curl and others."""

import asyncio
import json
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
import requests
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from requests_aws4auth import AWS4Auth
from yarl import URL

from eventmesh import AccessDenied, Client, Service, on

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
READER, TEMPORARY = "AKIAREADERREADER", "ASIATEMPORARYKEY"
SESSION = "IQoJb3JpZ2luX2VjEXAMPLE//token=="
FILE = f"""
[keys.{KEY}]
secret = "{SECRET}"
scopes = ["invoke", "send", "emit"]
[keys.{READER}]
secret = "{SECRET}"
scopes = ["read"]
[keys.{TEMPORARY}]
secret = "{SECRET}"
session_token = "{SESSION}"
scopes = ["invoke"]
[keys.AKIAEXPIREDEXPIRED]
secret = "{SECRET}"
scopes = ["invoke"]
expires = 2020-01-01T00:00:00Z
"""
INVOKE = "/2015-03-31/functions/{}/invocations"
NAMES = [
    "orders.place",
    "orders.place:$LATEST",
    "arn:aws:lambda:eu-central-1:000000000000:function:orders.place",
    "arn:aws:lambda:eu-central-1:000000000000:function:orders.place:$LATEST",
    "000000000000:function:orders.place",
]

orders = Service("orders")


@orders.function(on.event("order.*"))
async def place(sku: str = "none") -> str:
    return sku


@orders.function(max_payload=6_000_000)
async def size(data: bytes) -> int:
    return len(data)


@pytest.fixture
async def served(serving, tmp_path):
    file = tmp_path / "auth.toml"
    file.touch(0o600)
    file.write_text(FILE)
    async with serving(orders, auth_file=str(file)) as served:
        yield served


def connect(url, key=KEY, secret=SECRET, token=None, region="eu-central-1"):
    return boto3.client(
        "lambda",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


async def invoke(client, name="orders.place", payload=b'{"sku": "a"}', **options):
    answer = await asyncio.to_thread(client.invoke, FunctionName=name, Payload=payload, **options)
    return await asyncio.to_thread(answer["Payload"].read) or answer["StatusCode"]


async def refusal(client, **options):
    with pytest.raises(ClientError) as caught:
        await invoke(client, **options)
    return caught.value.response["Error"]["Code"]


async def run(*command, **environ):
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output, errors.decode()


@pytest.mark.parametrize("name", NAMES)
async def test_boto3_is_accepted_by_every_form_of_a_name(served, name):
    assert json.loads(await invoke(connect(served.url), name)) == "a"
    assert json.loads(await invoke(connect(served.url), name, Qualifier="$LATEST")) == "a"


async def test_boto3_is_accepted_with_headers_and_any_region(served):
    client = connect(served.url, region="xx-mesh-1")
    context = "eyJjdXN0b20iOiB7ImEiOiAiYiJ9fQ=="

    assert await invoke(client, InvocationType="Event") == 202
    assert await invoke(client, InvocationType="DryRun") == 204
    assert await invoke(client, LogType="Tail", ClientContext=context) == b'"a"'


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 1_000_000, 5_999_999])
async def test_bodies_of_any_size_are_accepted(served, length):
    assert json.loads(await invoke(connect(served.url), "orders.size", bytes(length))) == length


async def test_a_temporary_key_needs_its_session_token(served):
    assert await invoke(connect(served.url, TEMPORARY, token=SESSION)) == b'"a"'
    for token in (None, "another"):
        code = await refusal(connect(served.url, TEMPORARY, token=token))
        assert code == "UnrecognizedClientException"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"secret": "another"}, "InvalidSignatureException"),
        ({"key": "AKIAUNKNOWNUNKNOWN"}, "UnrecognizedClientException"),
        ({"key": "AKIAEXPIREDEXPIRED"}, "ExpiredTokenException"),
        ({"key": READER}, "AccessDeniedException"),
    ],
)
async def test_who_is_not_admitted_gets_the_code_of_aws(served, given, code):
    assert await refusal(connect(served.url, **given)) == code


async def test_a_key_may_do_what_its_scopes_say(served):
    assert await refusal(connect(served.url, TEMPORARY, token=SESSION), InvocationType="Event") == (
        "AccessDeniedException"
    )


@pytest.mark.parametrize("name", ["orders.place", "orders.place:$LATEST"])
async def test_the_aws_cli_is_accepted(served, tmp_path, name):
    command = [
        str(Path(sys.executable).with_name("aws")), "lambda", "invoke",
        "--endpoint-url", served.url, "--region", "eu-central-1", "--function-name", name,
        "--payload", '{"sku": "b"}', str(tmp_path / "out"),
    ]  # fmt: skip
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}

    status, _, errors = await run(*command, AWS_SECRET_ACCESS_KEY=SECRET, **keys)
    assert (status, errors) == (0, "")
    assert (tmp_path / "out").read_bytes() == b'"b"'
    _, _, errors = await run(*command, AWS_SECRET_ACCESS_KEY="another", **keys)
    assert "InvalidSignatureException" in errors


async def curl(served, *options, secret=SECRET):
    program = shutil.which("curl")
    assert program, "install curl: its signatures are tested"
    _, output, errors = await run(
        program, "--silent", "--show-error", "--aws-sigv4", "aws:amz:eu-central-1:lambda",
        "--user", f"{KEY}:{secret}", "--header", "Content-Type: application/json",
        "--write-out", "\n%{http_code}", *options, served.url + INVOKE.format("orders.place"),
    )  # fmt: skip
    assert not errors
    body, _, status = output.decode().rpartition("\n")
    return int(status), body


async def test_curl_is_accepted(served):
    assert await curl(served, "--data", '{"sku": "c"}') == (200, '"c"')
    status, body = await curl(served, "--data", "{}", secret="another")
    assert status == 403
    assert "does not match" in json.loads(body)["message"]


async def test_curl_is_accepted_with_a_signed_header(served):
    event = ("--header", "X-Amz-Invocation-Type: Event")
    assert await curl(served, *event, "--data", '{"sku": "c"}') == (202, "")


@pytest.mark.parametrize("name", [*NAMES, "orders.place%3A%24LATEST"])
async def test_an_independent_signer_is_accepted(served, name):
    auth = AWS4Auth(KEY, SECRET, "eu-central-1", "lambda")
    url = served.url + INVOKE.format(name)
    answer = await asyncio.to_thread(
        requests.post, url, json={"sku": "d"}, auth=auth, params={"Qualifier": "$LATEST"}
    )

    assert (answer.status_code, answer.text) == (200, '"d"')
    auth = AWS4Auth(KEY, "another", "eu-central-1", "lambda")
    answer = await asyncio.to_thread(requests.post, url, json={}, auth=auth)
    assert answer.headers["x-amzn-ErrorType"] == "InvalidSignatureException"


async def send(served, request):
    """Send what boto3 or botocore prepared, with something changed; the status and the code."""
    target = request.url.removeprefix(served.url)
    async with served.http.request(
        request.method, served.url + target, data=request.body, headers=dict(request.headers)
    ) as answer:
        return answer.status, answer.headers.get("x-amzn-ErrorType"), await answer.text()


def sign(served, headers=(), body=b'{"sku": "e"}'):
    """A request that requests-aws4auth signed, to be changed before it is sent."""
    request = requests.Request(
        "POST",
        served.url + INVOKE.format("orders.place"),
        data=body,
        headers={"Content-Type": "application/json", **dict(headers)},
        auth=AWS4Auth(KEY, SECRET, "eu-central-1", "lambda"),
    ).prepare()
    request.headers.pop("Content-Length")
    return request


async def test_a_signed_request_may_be_sent_as_a_stream(served):
    request = sign(served)

    async def pieces():
        yield b'{"sku":'
        yield b' "e"}'

    request.body = pieces()
    assert await send(served, request) == (200, None, '"e"')


CHANGES = {
    "date": (lambda it: it.headers.update({"x-amz-date": "20200101T000000Z"}), 403, "Invalid"),
    "type": (lambda it: it.headers.update({"X-Amz-Invocation-Type": "Event"}), 403, "Invalid"),
    "headers": (lambda it: it.headers.update({"X-Eventmesh-Headers": "a=1"}), 403, "Invalid"),
    "content": (lambda it: it.headers.update({"Content-Type": "text/plain"}), 403, "Invalid"),
    "host": (lambda it: it.headers.update({"Host": "localhost"}), 403, "Invalid"),
    "body": (lambda it: setattr(it, "body", b"{}"), 403, "Invalid"),
    "query": (lambda it: setattr(it, "url", it.url + "?Qualifier=1"), 403, "Invalid"),
    "path": (lambda it: setattr(it, "url", it.url.replace("place", "size")), 403, "Invalid"),
    "unread": (lambda it: it.headers.update({"Authorization": "AWS4-HMAC-SHA256 x"}), 400, "Inc"),
    "undated": (lambda it: it.headers.pop("x-amz-date"), 400, "IncompleteSignature"),
    "unsigned": (lambda it: it.headers.pop("Authorization"), 403, "MissingAuthenticationToken"),
}


@pytest.mark.parametrize(("change", "status", "code"), CHANGES.values(), ids=CHANGES)
async def test_what_was_changed_is_refused_with_the_code_of_aws(served, change, status, code):
    request = sign(served)
    assert (await send(served, request))[0] == 200
    change(request)

    given, error, body = await send(served, request)
    assert given == status
    assert error.startswith(code)
    assert error.endswith("Exception")
    assert SECRET not in body


@pytest.mark.parametrize(("seconds", "text"), [(-301, "expired"), (360, "not yet current")])
async def test_a_request_of_another_time_is_refused(served, monkeypatch, seconds, text):
    then = datetime.now(UTC) + timedelta(seconds=seconds)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: then)
    with pytest.raises(ClientError, match=rf"InvalidSignatureException.*{text}"):
        await invoke(connect(served.url))


async def post(served, url, body, headers=()):
    async with served.http.post(URL(url, encoded=True), data=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_presigned_url_of_boto3_invokes_without_a_payload(served):
    url = await asyncio.to_thread(
        connect(served.url).generate_presigned_url,
        "invoke",
        Params={"FunctionName": "orders.place:$LATEST", "Qualifier": "$LATEST"},
        HttpMethod="POST",
    )

    assert await post(served, url, b"") == (200, "none")
    for body, headers in ((b"{}", {}), (b"", {"X-Amz-Invocation-Type": "Event"})):
        assert (await post(served, url, body, headers))[0] == 403
    assert (await post(served, url.replace("orders.place", "orders.size"), b""))[0] == 403


async def test_a_presigned_url_may_leave_its_payload_open(served):
    open_body = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    request = AWSRequest("POST", served.url + INVOKE.format("orders.place"), open_body)
    SigV4QueryAuth(Credentials(KEY, SECRET), "lambda", "eu-central-1").add_auth(request)

    assert await post(served, request.url, b'{"sku": "f"}', open_body) == (200, "f")
    assert (await post(served, request.url, b'{"sku": "f"}'))[0] == 403


async def test_our_client_signs_all_that_it_does(served):
    async with Client(served.url, access_key=KEY, secret_key=SECRET) as client:
        assert await client.invoke("orders.place", {"sku": "h"}) == "h"
        await client.send("orders.place", {"sku": "h"}, delay=0.5)
        await client.emit("order.placed", {"sku": "ä"}, subject="a b+c/ä")
        with pytest.raises(AccessDenied, match="scope 'read'"):
            await client.dead_letters.summarize()
    async with Client(served.url, access_key=READER, secret_key=SECRET) as client:
        await client.dead_letters.list("orders.place")
    async with Client(
        served.url, access_key=TEMPORARY, secret_key=SECRET, session_token=SESSION
    ) as client:
        assert await client.invoke("orders.place", {"sku": "i"}) == "i"
    async with Client(served.url, access_key=KEY, secret_key="another") as client:
        with pytest.raises(AccessDenied, match="does not match"):
            await client.invoke("orders.place")
        with pytest.raises(AccessDenied, match="does not match"):
            await client.send("orders.place", {})


async def test_the_launcher_signs_with_the_key_of_its_settings(served, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    status, output, errors = await run(
        str(Path(sys.executable).with_name("eventmesh")),
        "invoke", "orders.place", '{"sku": "j"}',
        EVENTMESH_URL=served.url, EVENTMESH_ACCESS_KEY_ID=KEY,
        EVENTMESH_SECRET_ACCESS_KEY_FILE=str(secret),
    )  # fmt: skip

    assert (status, errors) == (0, "")
    assert json.loads(output) == "j"
