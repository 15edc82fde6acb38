"""The canonical form, by the examples of AWS's documentation."""

import pytest
from multidict import CIMultiDict

from eventmesh.http.auth.sigv4.canonical import (
    Scope,
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    hash_payload,
    parse_pairs,
    sign,
)

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MOMENT = "20150830T123600Z"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_example_get_vanilla():
    headers = CIMultiDict({"Host": "example.amazonaws.com", "X-Amz-Date": MOMENT})
    names = ["host", "x-amz-date"]

    canonical = canonical_request(
        "GET",
        canonical_path("/"),
        canonical_query(parse_pairs("")),
        canonical_headers(headers, names),
        ";".join(names),
        hash_payload(b""),
    )

    assert canonical == (
        f"GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:{MOMENT}\n\nhost;x-amz-date\n{EMPTY}"
    )
    assert (
        sign(canonical, MOMENT, Scope("20150830", "us-east-1", "service"), SECRET)
        == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )


def test_the_example_of_iam():
    headers = CIMultiDict(
        {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "Host": "iam.amazonaws.com",
            "X-Amz-Date": MOMENT,
        }
    )
    names = ["content-type", "host", "x-amz-date"]
    canonical = canonical_request(
        "GET",
        "/",
        canonical_query(parse_pairs("Version=2010-05-08&Action=ListUsers")),
        canonical_headers(headers, names),
        ";".join(names),
        EMPTY,
    )

    assert (
        sign(canonical, MOMENT, Scope("20150830", "us-east-1", "iam"), SECRET)
        == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("Param2=value2&Param1=value1", "Param1=value1&Param2=value2"),
        ("Param1=value2&Param1=Value1", "Param1=Value1&Param1=value2"),
        ("a", "a="),
        ("a=", "a="),
        ("&&a=1&", "a=1"),
        ("a=b=c", "a=b%3Dc"),
        ("a=x y", "a=x%20y"),
        ("a=x+y", "a=x%20y"),
        ("a=x%2By", "a=x%2By"),
        ("a=x%20y", "a=x%20y"),
        ("%61=%7e", "a=~"),
        ("a=%ff", "a=%FF"),
        ("a=%e1%88%b4", "a=%E1%88%B4"),
        ("a=%zz", "a=%25zz"),
        ("a=/?:@", "a=%2F%3F%3A%40"),
        ("-._~0Aa=1", "-._~0Aa=1"),
    ],
)
def test_queries(query, canonical):
    assert canonical_query(parse_pairs(query)) == canonical


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a%20b", "/a%2520b"),
        ("/f%3A%24LATEST/", "/f%253A%2524LATEST/"),
        ("/f:$LATEST", "/f%3A%24LATEST"),
        ("/-._~0Aa", "/-._~0Aa"),
        ("/../a//b", "/../a//b"),
        ("/\udcc3\udca4", "/%C3%A4"),
    ],
)
def test_paths(path, canonical):
    assert canonical_path(path) == canonical


def test_no_two_paths_have_one_canonical_form():
    paths = [
        "/a%2525",
        "/a%25",
        "/a%",
        "/a",
        "/A",
        "/a/",
        "/a%2F",
        "//a",
        "/./a",
        "/a%2f",
        "/a:",
        "/a%3A",
    ]

    assert len({canonical_path(path) for path in paths}) == len(paths)


def test_headers():
    headers = CIMultiDict(
        [
            ("Host", "example.org"),
            ("My-Header1", "  a   b \t c  "),
            ("my-header2", "value2"),
            ("MY-HEADER2", " value1"),
            ("Quoted", '"a   b"'),
            ("Bytes", "\udcff  a\xa0b"),
            ("Empty", ""),
        ]
    )

    assert canonical_headers(
        headers, ["bytes", "empty", "my-header1", "my-header2", "none", "quoted"]
    ) == (
        "bytes:\udcff a\xa0b\nempty:\nmy-header1:a b c\nmy-header2:value2,value1\nnone:\n"
        'quoted:"a b"\n'
    )
