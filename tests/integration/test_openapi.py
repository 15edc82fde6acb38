"""The document at /openapi.json, and the page that shows it."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field
from pydantic_core import core_schema

from eventmesh import Context, Header, Problem, Query, Response, Service, on


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    sku: Annotated[str, Field(min_length=1, max_length=10)]
    quantity: Annotated[int, Field(ge=1, le=100)] = 1


class Order(BaseModel):
    lines: Annotated[list[Line], Field(max_length=3)]
    note: str | None = None


class Filter(BaseModel):
    color: Color | None = None
    limit: Annotated[int, Field(ge=0, le=50)] = 10


shop = Service("shop")


@shop.function(on.post("/orders", status=201, tags=["orders"], problems=[409]))
async def place_order(order: Order, dry: Annotated[bool, Query()] = False) -> Order:
    """Place an order.

    It is delivered tomorrow.
    """
    if dry:
        raise Problem(409, "sold out")
    return order


@shop.function(
    on.get("/orders/{id}", summary="One order"), on.put("/orders/{number}", mode="async")
)
async def show_order(
    id: Annotated[int, Field(ge=0)] = 0,
    number: Annotated[int, Field(description="Which one")] = 1,
    tenant: Annotated[str, Header("x-tenant", description="Whose it is")] = "acme",
) -> Order | None: ...


@shop.function(on.delete("/lines/{id}", status=204))
async def drop_line(id: int, ctx: Context) -> None: ...


@shop.function(on.get("/colors"))
async def colors(wanted: Filter) -> list[Color]:
    return [wanted.color] if wanted.color else list(Color)


@shop.function(on.get("/numbers"), timeout=None)
async def numbers(count: Annotated[int, Field(ge=0, le=5)] = 2) -> AsyncIterator[Line]:
    for number in range(count):
        yield Line(sku=f"n{number}")


@shop.function(on.put("/files/{name}"))
async def upload(name: str, data: bytes) -> bytes:
    return data


@shop.function(on.get("/anything"))
async def anything() -> Response:
    return Response("ok")


@pytest.fixture
async def served(serving):
    async with serving(shop) as served:
        yield served


@pytest.fixture
async def document(served):
    async with served.http.get("/openapi.json") as answer:
        assert answer.content_type == "application/json"
        return await answer.json()


def schema_of(content):
    (media_type,) = content.values()
    return media_type["schema"]


def parameters_of(operation):
    return {(one["in"], one["name"]): one for one in operation["parameters"]}


async def test_the_document_is_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "shop"
    OpenAPIV31SpecValidator(document).validate()


async def test_every_route_is_there_and_nothing_of_ours(document):
    assert {(method, path) for path, item in document["paths"].items() for method in item} == {
        ("post", "/orders"),
        ("get", "/orders/{id}"),
        ("put", "/orders/{id}"),
        ("delete", "/lines/{id}"),
        ("get", "/colors"),
        ("get", "/numbers"),
        ("put", "/files/{name}"),
        ("get", "/anything"),
    }


async def test_an_operation_is_known_by_its_function(document):
    paths = document["paths"]

    assert paths["/orders"]["post"]["operationId"] == "shop.place_order"
    assert paths["/orders"]["post"]["tags"] == ["orders"]
    assert paths["/orders"]["post"]["summary"] == "Place an order."
    assert paths["/orders"]["post"]["description"].endswith("delivered tomorrow.")
    assert paths["/orders/{id}"]["get"]["operationId"] == "shop.show_order"
    assert paths["/orders/{id}"]["get"]["summary"] == "One order"
    assert paths["/orders/{id}"]["put"]["operationId"] == "shop.show_order-2"
    assert paths["/colors"]["get"]["tags"] == ["shop"]


async def test_path_query_and_headers_are_parameters(document):
    parameters = parameters_of(document["paths"]["/orders/{id}"]["get"])

    assert set(parameters) == {("path", "id"), ("query", "number"), ("header", "x-tenant")}
    assert parameters["path", "id"]["required"] is True
    assert parameters["path", "id"]["schema"]["minimum"] == 0
    assert parameters["query", "number"]["required"] is False
    assert parameters["query", "number"]["schema"]["default"] == 1
    assert parameters["query", "number"]["description"] == "Which one"
    assert parameters["header", "x-tenant"]["description"] == "Whose it is"


async def test_paths_that_differ_in_names_alone_are_one(document):
    assert ("path", "id") in parameters_of(document["paths"]["/orders/{id}"]["put"])


async def test_a_query_as_a_whole_is_a_parameter_a_field(document):
    parameters = parameters_of(document["paths"]["/colors"]["get"])

    assert set(parameters) == {("query", "color"), ("query", "limit")}
    assert parameters["query", "limit"]["schema"]["maximum"] == 50
    # What is written as a text cannot be null.
    assert "null" not in str(parameters["query", "color"]["schema"])


async def test_bodies_and_results_refer_to_one_schema(document):
    operation = document["paths"]["/orders"]["post"]
    result = document["paths"]["/colors"]["get"]["responses"]["200"]

    assert operation["requestBody"]["required"] is True
    assert schema_of(operation["requestBody"]["content"])["$ref"].endswith("/Order")
    assert schema_of(operation["responses"]["201"]["content"])["$ref"].endswith("/Order")
    assert schema_of(result["content"])["items"]["$ref"].endswith("/Color")


async def test_all_kinds_of_results_are_there(document):
    paths = document["paths"]
    numbers = paths["/numbers"]["get"]["responses"]["200"]["content"]
    accepted = paths["/orders/{id}"]["put"]["responses"]["202"]

    assert set(numbers) == {"application/x-ndjson", "text/event-stream"}
    assert numbers["text/event-stream"]["schema"]["contentSchema"]["$ref"].endswith("/Line")
    assert set(accepted["headers"]) == {"x-eventmesh-invocation-id", "Location"}
    assert "content" not in paths["/lines/{id}"]["delete"]["responses"]["204"]
    assert "application/octet-stream" in paths["/files/{name}"]["put"]["requestBody"]["content"]


@pytest.mark.parametrize(
    ("path", "method", "problems"),
    [
        ("/orders", "post", {400, 408, 409, 413, 415, 422, 429, 500, 503, 504}),
        ("/orders/{id}", "get", {400, 422, 429, 500, 503, 504}),
        ("/orders/{id}", "put", {400, 408, 413, 415, 422, 429, 500, 503}),
        ("/numbers", "get", {400, 422, 429, 500, 503}),
        ("/anything", "get", {400, 429, 500, 503, 504}),
    ],
)
async def test_the_problems_that_can_occur_are_there(document, path, method, problems):
    responses = document["paths"][path][method]["responses"]
    found = {status for status in responses if "problem" in str(responses[status].get("content"))}

    assert {int(status) for status in found} == problems


async def test_a_type_that_has_no_schema_is_anything(serving):
    class Opaque:
        @classmethod
        def __get_pydantic_core_schema__(cls, _, __):
            return core_schema.no_info_plain_validator_function(lambda value: value)

    service = Service("s")

    @service.function(on.post("/"))
    async def take(value: Opaque) -> None: ...

    async with serving(service) as served, served.http.get("/openapi.json") as answer:
        document = await answer.json()
    content = document["paths"]["/"]["post"]["requestBody"]["content"]
    assert content == {"application/json": {"schema": {}}}


async def test_several_services_share_the_document(serving):
    first, second = Service("first"), Service("second")

    @first.function(on.get("/first"))
    async def show() -> None: ...

    @second.function(on.get("/second"))
    async def find() -> None: ...

    async with serving(first, second) as served, served.http.get("/openapi.json") as answer:
        document = await answer.json()

    assert document["info"]["title"] == "eventmesh"
    assert set(document["paths"]) == {"/first", "/second"}


async def test_the_page_needs_nothing_from_elsewhere(served):
    async with served.http.get("/docs") as answer:
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    files.remove("data:,")  # An icon that is none, which no browser asks for.

    assert "default-src 'none'" in policy
    assert "://" not in page
    assert len(files) == 3
    for path in files:
        async with served.http.get(path) as answer:
            assert answer.status == 200
            assert await answer.read()


async def test_schemathesis_finds_no_fault(served, tmp_path):
    # What it calls bad data and pydantic reads all the same, such as false for 0, is no fault.
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{served.url}/openapi.json", "--seed", "1", "--max-examples", "10"),
        *("--checks", "all", "--exclude-checks", "negative_data_rejection"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(300):
        printed, _ = await process.communicate()

    assert process.returncode == 0, printed.decode()
    assert "Operations:       8 selected / 8 total" in printed.decode()
