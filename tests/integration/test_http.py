import gzip
import json
from typing import Annotated

import pytest
from pydantic import BaseModel
from yarl import URL

from eventmesh import (
    Context,
    Header,
    Problem,
    Response,
    RetryLater,
    Service,
    on,
)

SECRET = "hunter2"


class Order(BaseModel):
    sku: str
    quantity: int = 1


async def problem(answer):
    """The problem that an answer is."""
    assert answer.content_type == "application/problem+json"
    document = json.loads(await answer.read())
    assert document["status"] == answer.status
    assert document["title"]
    assert document["instance"] == answer.url.raw_path
    return document


orders = Service("orders")


@orders.function(on.post("/orders", status=201))
async def place(order: Order) -> Order:
    return order


@orders.function(on.get("/orders/{order_id}"))
async def show(
    order_id: int,
    ctx: Context,
    q: str = "",
    tags: tuple[str, ...] = (),
    token: Annotated[str, Header("x-token")] = "",
) -> dict[str, object]:
    return {"id": order_id, "q": q, "tags": tags, "token": token, "trigger": ctx.trigger}


@orders.function(on.delete("/orders/{order_id}", status=204))
async def cancel(order_id: int) -> None: ...


@orders.function(on.get("/nothing"))
async def nothing() -> None: ...


@orders.function(on.put("/files/{name}"), max_payload=10)
async def upload(name: str, data: bytes) -> bytes:
    return data[::-1]


@orders.function(on.get("/teapot"))
def teapot() -> Response:
    return Response(
        "short", 418, {"X-Stout": "yes", "Content-Type": "text/x-tea", "Content-Length": "999"}
    )


@orders.function(on.get("/cookies"))
def cookies() -> Response:
    return Response(None, headers={"Set-Cookie": ["a=1", "b=2"], "Vary": ("Origin", "Cookie")})


@orders.function(on.get("/broken"))
async def broken() -> None:
    raise ValueError(SECRET)


@orders.function(on.get("/unencodable"))
async def unencodable() -> int:
    return SECRET


@orders.function(on.get("/split"))
async def split() -> Response:
    return Response(headers={"X-A": "1\r\nX-B: 2"})


@orders.function(on.get("/conflict", problems=[409]))
async def conflict() -> None:
    raise Problem(409, "sold out", headers={"X-Stock": "0"}, sku="a")


@orders.function(on.get("/later"))
async def later() -> None:
    raise RetryLater(2.5)


@orders.function(on.get("/lost"))
async def lost(ctx: Context) -> None:
    await ctx.invoke("no.such")


@pytest.fixture
async def shop(serving):
    async with serving(orders) as served:
        yield served.http


async def test_a_payload_is_validated_and_the_result_is_json(shop):
    async with shop.post("/orders", json={"sku": "a", "quantity": "3"}) as answer:
        assert answer.status == 201
        assert answer.content_type == "application/json"
        assert await answer.json() == {"sku": "a", "quantity": 3}
        assert len(answer.headers["x-eventmesh-invocation-id"]) == 32


async def test_path_query_and_headers_fill_parameters(shop):
    query = [("q", "ü &"), ("tags", "1"), ("tags", "2")]
    async with shop.get("/orders/17", params=query, headers={"X-TOKEN": "t"}) as answer:
        assert await answer.json() == {
            "id": 17,
            "q": "ü &",
            "tags": ["1", "2"],
            "token": "t",
            "trigger": "http",
        }


async def test_no_value_is_null_and_a_declared_204_has_no_body(shop):
    async with shop.get("/nothing") as answer:
        assert (answer.status, await answer.read()) == (200, b"null")
    async with shop.delete("/orders/17") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
        assert "Content-Length" not in answer.headers


async def test_plain_bytes_come_and_go_as_they_are(shop):
    async with shop.put("/files/a", data=b"\x00\xff", headers={"Content-Type": "x/y"}) as answer:
        assert await answer.read() == b"\xff\x00"
        assert answer.content_type == "application/octet-stream"


async def test_a_response_sets_status_headers_and_type(shop):
    async with shop.get("/teapot") as answer:
        assert answer.status == 418
        assert answer.content_type == "text/x-tea"
        assert answer.headers["X-Stout"] == "yes"
        assert await answer.read() == b"short"


async def test_head_is_get_without_the_body(shop):
    async with shop.head("/nothing") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["Content-Length"] == "4"
    async with shop.get("/nothing") as answer:
        assert await answer.read() == b"null"


async def test_options_says_what_is_allowed(shop):
    async with shop.options("/orders/17") as answer:
        assert answer.status == 204
        assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/nix", "/orders/", "/orders/17/", "/ORDERS"])
async def test_a_path_that_nothing_answers_is_404(shop, path):
    async with shop.get(path) as answer:
        assert answer.status == 404
        await problem(answer)


async def test_a_method_that_nothing_answers_is_405(shop):
    async with shop.put("/orders", json={}) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "OPTIONS, POST"
        await problem(answer)


@pytest.mark.parametrize("path", ["/orders/%FF", "/nothing?a=%FF"])
async def test_what_is_no_utf8_is_400(shop, path):
    async with shop.get(URL(path, encoded=True)) as answer:
        assert answer.status == 400
        await problem(answer)


async def test_a_header_with_several_values_is_sent_once_for_each(shop):
    async with shop.get("/cookies") as answer:
        assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert answer.headers.getall("Vary") == ["Origin", "Cookie"]


async def test_too_many_query_fields_are_400(shop):
    async with shop.get("/nothing?" + "&".join("a" for _ in range(1001))) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_functions_limit_is_413(shop, declared):
    async def chunks():
        yield b"123456"
        yield b"123456"

    body = b"12345678901" if declared else chunks()
    async with shop.put("/files/a", data=body) as answer:
        assert answer.status == 413
        told = await problem(answer)
        assert told["limit"] == 10
        assert told["detail"] == "the body may have 10 bytes at the most (max_payload)"


@pytest.mark.parametrize(
    ("max_payload", "setting"),
    [(101, "EVENTMESH_MAX_BODY"), (100, "max_payload and EVENTMESH_MAX_BODY")],
)
async def test_a_body_over_the_servers_limit_is_413(serving, caplog, max_payload, setting):
    service = Service("s")

    @service.function(on.post("/"), on.post("/again"), max_payload=max_payload)
    async def take(data: bytes) -> int:
        return len(data)

    async with serving(service, max_body=100) as served:
        async with served.http.post("/", data=b"x" * 100) as answer:
            assert await answer.json() == 100
        async with served.http.post("/", data=b"x" * 101) as answer:
            assert answer.status == 413
            detail = (await problem(answer))["detail"]
    assert detail == f"the body may have 100 bytes at the most ({setting})"
    warned = ["s.take: max_payload=101 is above EVENTMESH_MAX_BODY=100"] * (max_payload > 100)
    assert [record.message.partition(": larger")[0] for record in caplog.records] == warned


async def test_a_compressed_body_is_limited_by_what_it_unfolds_to(shop):
    headers = {"Content-Encoding": "gzip"}
    async with shop.put("/files/a", data=gzip.compress(b"12345"), headers=headers) as answer:
        assert await answer.read() == b"54321"
    bomb = gzip.compress(b"x" * 10_000_000)
    async with shop.put("/files/a", data=bomb, headers=headers) as answer:
        assert answer.status == 413


async def test_a_body_that_cannot_be_decoded_is_400(shop):
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with shop.post("/orders", data=b"this is no gzip", headers=headers) as answer:
        assert answer.status == 400
        await problem(answer)


async def test_an_unknown_coding_is_415(shop):
    headers = {"Content-Encoding": "zip", "Content-Type": "application/json"}
    async with shop.post("/orders", data=b"{}", headers=headers) as answer:
        assert answer.status == 415
        assert "gzip" in answer.headers["Accept-Encoding"]


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
async def test_a_body_that_is_said_to_be_no_json_is_415(shop, media_type):
    async with shop.post("/orders", data=b"{}", headers={"Content-Type": media_type}) as answer:
        assert answer.status == 415
        assert answer.headers["Accept"] == "application/json"
        detail = (await problem(answer))["detail"]
        assert ("parameter of type bytes" in detail) is (media_type != "text/plain")


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/geo+json"]
)
async def test_all_that_is_json_is_taken(shop, media_type):
    body = b'{"sku": "a"}'
    async with shop.post("/orders", data=body, headers={"Content-Type": media_type}) as answer:
        assert answer.status == 201


async def test_a_body_of_no_type_is_415(shop):
    async with shop.post(
        "/orders", data=b'{"sku": "a"}', skip_auto_headers=["Content-Type"]
    ) as answer:
        assert answer.status == 415
        assert "Content-Type: application/json" in (await problem(answer))["detail"]


async def test_no_body_needs_no_type(shop):
    async with shop.post("/orders", skip_auto_headers=["Content-Type"]) as answer:
        assert answer.status == 422
    async with shop.put("/files/a", data=b"abc", skip_auto_headers=["Content-Type"]) as answer:
        assert await answer.read() == b"cba"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"{}", ["body", "sku"]),
        (b'{"sku": "a", "quantity": []}', ["body", "quantity"]),
        (b"{", ["body"]),
        (b"", ["body"]),
        (b"[]", ["body"]),
    ],
)
async def test_a_body_that_does_not_fit_is_422_with_each_reason(shop, body, where):
    headers = {"Content-Type": "application/json"}
    async with shop.post("/orders", data=body, headers=headers) as answer:
        assert answer.status == 422
        (error,) = (await problem(answer))["errors"]
        assert error["loc"] == where
        assert error["msg"]


async def test_all_that_does_not_fit_is_told_at_once(shop):
    async with shop.get("/orders/x") as answer:
        assert answer.status == 422
        assert [error["loc"] for error in (await problem(answer))["errors"]] == [
            ["path", "order_id"]
        ]


@pytest.mark.parametrize("path", ["/broken", "/unencodable", "/split"])
async def test_a_failure_is_500_and_tells_no_internals(shop, path):
    async with shop.get(path) as answer:
        assert answer.status == 500
        document = await problem(answer)
        assert SECRET not in str(document)
        assert "Traceback" not in str(document)


async def test_a_failure_names_its_invocation(shop):
    async with shop.get("/broken") as answer:
        document = await problem(answer)
        assert document["invocation_id"] == answer.headers["x-eventmesh-invocation-id"]


async def test_a_function_that_calls_nobody_fails_itself(shop):
    async with shop.get("/lost") as answer:
        assert answer.status == 500


async def test_a_problem_is_answered_as_it_was_raised(shop):
    async with shop.get("/conflict") as answer:
        assert answer.status == 409
        assert answer.headers["X-Stock"] == "0"
        document = await problem(answer)
        assert (document["detail"], document["sku"]) == ("sold out", "a")


async def test_retry_later_is_503(shop):
    async with shop.get("/later") as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "3"
