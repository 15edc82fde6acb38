import pytest

from eventmesh.executions.aws.names import parse_name


@pytest.mark.parametrize(
    ("text", "name", "qualifier"),
    [
        ("orders.place", "orders.place", ""),
        ("orders.place:$LATEST", "orders.place", "$LATEST"),
        ("orders.place:live", "orders.place", "live"),
        ("arn:aws:lambda:eu-central-1:123456789012:function:orders.place", "orders.place", ""),
        ("arn:aws:lambda:eu-central-1:123456789012:function:a.b:7", "a.b", "7"),
        ("arn:aws-cn:lambda:cn-north-1:000000000000:function:a.b", "a.b", ""),
        ("123456789012:function:orders.place", "orders.place", ""),
        ("function:orders.place", "orders.place", ""),
        ("my-service.do_it", "my-service.do_it", ""),
    ],
)
def test_all_ways_to_write_a_name_are_understood(text, name, qualifier):
    assert parse_name(text) == (name, qualifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a b",
        "a/b",
        "arn:aws:sqs:eu-west-1:123456789012:q",
        "a.b:c:d",
        "a.b:",
        "ü.b",
    ],
)
def test_what_is_no_name_is_none(text):
    assert parse_name(text) is None
