import pytest

from eventmesh.http.openapi.merge import merge_documents
from eventmesh.http.openapi.schemas import BUILTIN_SCHEMAS

PREFIX = "#/components/schemas/"


def reference(name):
    return {"$ref": f"{PREFIX}{name}"}


def document(title, path, schemas, returns):
    """A document with one operation, whose result has the schema `returns`."""
    content = {"application/json": {"schema": reference(returns)}}
    operation = {"operationId": f"{title}.show", "responses": {"200": {"content": content}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "paths": {path: {"get": operation}},
        "components": {"schemas": {**schemas, **BUILTIN_SCHEMAS}},
    }


def item(*names):
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def order():
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": reference("Item")}},
    }


def result(merge, path):
    content = merge["paths"][path]["get"]["responses"]["200"]["content"]
    return content["application/json"]["schema"]


def test_nothing():
    assert merge_documents([])["paths"] == {}
    assert merge_documents([])["components"]["schemas"] == BUILTIN_SCHEMAS


def test_paths_and_schemas_of_all_are_there():
    both = merge_documents(
        [
            document("shop", "/items", {"Item": item("name")}, "Item"),
            document("bank", "/accounts", {"Account": item("iban")}, "Account"),
        ]
    )
    assert both["paths"].keys() == {"/items", "/accounts"}
    assert both["components"]["schemas"].keys() == {"Item", "Account", *BUILTIN_SCHEMAS}


def test_the_same_schema_is_there_once():
    both = merge_documents(
        [
            document("shop", "/items", {"Item": item("name")}, "Item"),
            document("bank", "/bought", {"Item": item("name")}, "Item"),
        ]
    )
    assert both["components"]["schemas"].keys() == {"Item", *BUILTIN_SCHEMAS}
    assert result(both, "/items") == result(both, "/bought") == reference("Item")


def test_another_schema_of_that_name_gets_its_services_name():
    both = merge_documents(
        [
            document("shop", "/items", {"Item": item("name")}, "Item"),
            document("bank", "/bought", {"Item": item("price")}, "Item"),
        ]
    )
    schemas = both["components"]["schemas"]
    assert (schemas["Item"], schemas["bank.Item"]) == (item("name"), item("price"))
    assert result(both, "/items") == reference("Item")
    assert result(both, "/bought") == reference("bank.Item")


def test_what_refers_to_one_that_is_renamed_is_another_one_too():
    both = merge_documents(
        [
            document("shop", "/orders", {"Item": item("name"), "Order": order()}, "Order"),
            document("bank", "/bills", {"Item": item("price"), "Order": order()}, "Order"),
        ]
    )
    schemas = both["components"]["schemas"]
    assert schemas["bank.Order"]["properties"]["items"]["items"] == reference("bank.Item")
    assert schemas["Order"]["properties"]["items"]["items"] == reference("Item")
    assert result(both, "/bills") == reference("bank.Order")


def test_versions_of_one_service_each_get_a_name():
    versions = [
        document("shop", f"/v{number}", {"Item": item(f"field{number}")}, "Item")
        for number in range(4)
    ]
    merge = merge_documents(versions)
    assert merge["components"]["schemas"].keys() == {
        *("Item", "shop.Item", "shop-2.Item", "shop-3.Item"),
        *BUILTIN_SCHEMAS,
    }
    assert [result(merge, f"/v{number}") for number in range(4)] == [
        reference(name) for name in ("Item", "shop.Item", "shop-2.Item", "shop-3.Item")
    ]


def test_the_mapping_of_a_discriminator_is_renamed_as_well():
    animal = {"discriminator": {"propertyName": "kind", "mapping": {"cat": f"{PREFIX}Cat"}}}
    both = merge_documents(
        [
            document("shop", "/cats", {"Cat": item("name")}, "Cat"),
            document("zoo", "/animals", {"Cat": item("age"), "Animal": animal}, "Animal"),
        ]
    )
    discriminator = both["components"]["schemas"]["zoo.Animal"]["discriminator"]
    assert discriminator["mapping"] == {"cat": f"{PREFIX}zoo.Cat"}


def test_of_two_operations_at_one_place_the_first_counts():
    both = merge_documents(
        [
            document("new", "/items", {"Item": item("name")}, "Item"),
            document("old", "/items", {"Item": item("name")}, "Item"),
        ]
    )
    assert both["paths"]["/items"]["get"]["operationId"] == "new.show"


@pytest.mark.parametrize(
    "wrong",
    [
        {"paths": {}},
        {"components": 7, "paths": {}},
        {"components": {"schemas": []}, "info": {"title": "x"}, "paths": {}},
        {"components": {"schemas": {}}, "info": {"title": "x"}, "paths": {"/": 7}},
        {"components": {"schemas": {}}, "info": 7, "paths": {}},
    ],
)
def test_one_that_is_none_is_left_out(wrong, caplog):
    right = document("shop", "/orders", {"Order": {"type": "object"}}, "Order")
    assert merge_documents([wrong, right]) == merge_documents([right])
    assert "an OpenAPI document of a service is left out" in caplog.text
