"""Whose address a request has that comes through proxies, or pretends to."""

import pytest
from multidict import CIMultiDict

from eventmesh.http.edge.proxies import MAX_HOPS, Client, TrustedProxies, build_trusted_proxies
from eventmesh.model.access.addresses import match_address
from eventmesh.model.settings import Settings

PROXIES = TrustedProxies(match_address(["10.0.0.0/8", "fd00::/8"]))
PROXY = "10.0.0.1"


def find(*headers, peer=PROXY):
    return PROXIES.find_client(peer, CIMultiDict(headers))


def by_for(*lines, peer=PROXY):
    return find(*(("X-Forwarded-For", line) for line in lines), peer=peer).address


def by_forwarded(*lines, peer=PROXY):
    return find(*(("Forwarded", line) for line in lines), peer=peer).address


def test_nobody_is_trusted_unless_the_settings_say_so():
    assert build_trusted_proxies(Settings()) is None
    assert build_trusted_proxies(Settings(trusted_proxies=("10.0.0.0/8",))) is not None


def test_a_stranger_says_what_it_likes():
    headers = [
        ("Forwarded", "for=192.0.2.1;proto=https;host=good.example"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "good.example"),
    ]
    assert find(*headers, peer="198.51.100.7") == Client("198.51.100.7")
    assert find(*headers, peer="") == Client("")


def test_a_proxy_that_says_nothing_is_the_client():
    assert find() == Client(PROXY)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        ([" 192.0.2.1\t"], "192.0.2.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["2001:DB8::1"], "2001:db8::1"),
        (["[2001:db8::1]:80"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        # From the right to the left, to the first one that is none of ours.
        (["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (["6.6.6.6", "192.0.2.1", "10.0.0.2, fd00::2"], "192.0.2.1"),
        (["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        # What cannot be read hides whoever is behind it.
        (["192.0.2.1, unknown"], PROXY),
        (["192.0.2.1, "], PROXY),
        (["192.0.2.1, evil.example, 10.0.0.2"], "10.0.0.2"),
        (["192.0.2.1, 999.1.1.1"], PROXY),
        (["192.0.2.1, 10.0.0.2:999999"], PROXY),
        (["192.0.2.1, 10.0.0.2\x00"], PROXY),
    ],
)
def test_x_forwarded_for(lines, address):
    assert by_for(*lines) == address


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["for=192.0.2.1"], "192.0.2.1"),
        (["For=192.0.2.1;Proto=http; By=10.0.0.1"], "192.0.2.1"),
        (['for="192.0.2.1:4711"'], "192.0.2.1"),
        (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (["for=6.6.6.6, for=192.0.2.1"], "192.0.2.1"),
        (["for=6.6.6.6, for=192.0.2.1", "for=10.0.0.2"], "192.0.2.1"),
        (['for=6.6.6.6;host="a, for=7.7.7.7", for=192.0.2.1'], "192.0.2.1"),
        (["for=192.0.2.1, for=unknown"], PROXY),
        (['for=192.0.2.1, for="_hidden"'], PROXY),
        (["for=192.0.2.1, proto=https"], PROXY),
        # An element that breaks the rules hides whoever is behind it.
        (["for=192.0.2.1, for=10.0.0.2;for=6.6.6.6"], PROXY),
        (["for=192.0.2.1, for = 10.0.0.2"], PROXY),
        (["for=192.0.2.1, 10.0.0.2"], PROXY),
        (["for=192.0.2.1, for=2001:db8::1"], PROXY),
        # A quote that the client leaves open takes in what the proxy adds.
        (['for=6.6.6.6;x=", for=192.0.2.1'], PROXY),
        (['for=6.6.6.6;x=", for="[2001:db8::1]:80"'], PROXY),
        (['for=6.6.6.6;x="\\, for="192.0.2.1"'], PROXY),
    ],
)
def test_forwarded(lines, address):
    assert by_forwarded(*lines) == address


def test_two_headers_that_name_different_clients_are_both_not_believed():
    forged = ("Forwarded", "for=6.6.6.6")
    assert find(forged, ("X-Forwarded-For", "192.0.2.1")).address == PROXY
    assert find(forged, ("X-Forwarded-For", "6.6.6.6")).address == "6.6.6.6"
    forged = ("X-Forwarded-For", "6.6.6.6")
    assert find(forged, ("Forwarded", "for=192.0.2.1")) == Client(PROXY)


def test_the_scheme_and_the_host_are_those_that_the_proxy_was_asked_for():
    assert find(("Forwarded", 'for=192.0.2.1;proto=https;host="shop.example:8443"')) == Client(
        "192.0.2.1", "https", "shop.example:8443"
    )
    legacy = (
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "http, HTTPS"),
        ("X-Forwarded-Host", "forged.example"),
        ("X-Forwarded-Host", "shop.example"),
    )
    assert find(*legacy) == Client("192.0.2.1", "https", "shop.example")
    assert find(("X-Forwarded-Proto", "gopher")) == Client(PROXY)
    assert find(("X-Forwarded-Proto", "https")) == Client(PROXY, "https")


def test_more_hops_than_there_are_are_not_read():
    assert by_for(", ".join(["192.0.2.1", *["10.0.0.2"] * MAX_HOPS])) == "10.0.0.2"
    assert by_for(", ".join(["192.0.2.1", *["10.0.0.2"] * (MAX_HOPS - 1)])) == "192.0.2.1"
    assert by_for(",".join('"' * 8000)) == PROXY
