import pytest

from eventmesh.model.access.addresses import (
    EVERYWHERE,
    is_loopback,
    match_address,
    match_host,
    parse_authority,
    parse_hosts,
    parse_networks,
    parse_trust,
)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("shop.example.org", "shop.example.org"),
        ("SHOP.example.org:8080", "shop.example.org"),
        ("shop.example.org.:443", "shop.example.org"),
        ("127.0.0.1:", "127.0.0.1"),
        ("[::1]:8080", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("orders_v2", "orders_v2"),
        ("", ""),
        ("[", ""),
        ("[::1", ""),
        ("[localhost]", ""),
        ("user@shop.example.org", ""),
        ("shop.example.org@evil.example", ""),
        ("localhost:80:80", ""),
        ("localhost:x", ""),
        ("localhost/..", ""),
        ("localhost\\evil", ""),
        ("localhost evil", ""),
        ("localhost,evil.example", ""),
        ("localhost#", ""),
        ("%6cocalhost", ""),
        ("localhost\udcff", ""),
        ("-a.example", ""),
        ("a..b", ""),
        (f"{'a' * 64}.example", ""),
    ],
)
def test_the_host_of_an_authority(authority, host):
    assert parse_authority(authority) == host


@pytest.mark.parametrize(
    ("patterns", "host", "matches"),
    [
        ("shop.example.org", "shop.example.org", True),
        ("shop.example.org.", "shop.example.org", True),
        ("SHOP.example.org", "shop.example.org", True),
        ("shop.example.org", "evil.shop.example.org", False),
        ("shop.example.org", "shop.example.org.evil.example", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "evilexample.org", False),
        ("*.example.org, example.org", "example.org", True),
        ("127.0.0.1, [::1]", "::1", True),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("*", "evil.example", True),
    ],
)
def test_a_host_is_compared_with_a_list(patterns, host, matches):
    assert match_host(parse_hosts(patterns))(host) is matches


@pytest.mark.parametrize(
    "text", [",", "a b", "http://a", "a:80", "a.*.b", "*a", "**", "*.", "-a", "a/b", "é.example"]
)
def test_what_is_no_list_of_hosts(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_hosts(text)


@pytest.mark.parametrize(
    ("networks", "address", "matches"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1, fd00::/8", "fd00::7", True),
        ("10.0.0.0/8", "fd00::7", False),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "unknown", False),
    ],
)
def test_an_address_is_compared_with_networks(networks, address, matches):
    assert match_address(parse_networks(networks))(address) is matches


@pytest.mark.parametrize("text", [",", "10.0.0.1/8", "proxy.example", "10.0.0.0/33", "*"])
def test_what_is_no_list_of_networks(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_networks(text)


def test_trust_is_everybodys_nobodys_or_that_of_networks():
    assert parse_trust("TRUE") == EVERYWHERE
    assert parse_trust("false") == ()
    assert parse_trust("10.0.0.0/8,::1") == ("10.0.0.0/8", "::1/128")
    assert match_address(EVERYWHERE)("2001:db8::1")
    assert match_address(EVERYWHERE)("192.0.2.1")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "localhost.evil.example", "10.0.0.1"])
def test_another_machine(host):
    assert not is_loopback(host)
