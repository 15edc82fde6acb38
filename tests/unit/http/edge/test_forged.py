"""Whatever a client writes, it becomes no other client, no other host, and no trace of its own."""

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from eventmesh.http.edge.proxies import Client, TrustedProxies
from eventmesh.http.edge.traces import TraceReader
from eventmesh.model.access.addresses import match_address, match_host, parse_authority

PROXY, CLIENT = "10.0.0.1", "192.0.2.1"
PROXIES = TrustedProxies(match_address(["10.0.0.0/8"]))
PIECES = st.sampled_from(
    ["for=", "6.6.6.6", "10.0.0.2", ",", ";", '"', "\\", " ", "[::6]", "proto=https", "host=", "=x"]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=12).map("".join)


def find(*headers, peer=PROXY):
    return PROXIES.find_client(peer, CIMultiDict(headers)).address


@given(TEXTS, st.sampled_from(["Forwarded", "X-Forwarded-For"]))
def test_a_stranger_is_who_it_is(text, name):
    headers = CIMultiDict({name: text, "X-Forwarded-Host": text, "X-Forwarded-Proto": "https"})
    assert PROXIES.find_client(CLIENT, headers) == Client(CLIENT)


@given(TEXTS)
def test_what_a_proxy_adds_cannot_be_written_over(text):
    assert find(("X-Forwarded-For", f"{text}, {CLIENT}")) == CLIENT
    assert find(("X-Forwarded-For", text), ("X-Forwarded-For", CLIENT)) == CLIENT
    assert find(("Forwarded", text), ("Forwarded", f"for={CLIENT}")) == CLIENT
    # A quote that the client leaves open hides who it is, and makes it nobody else.
    for added in (f"for={CLIENT}", f'for="{CLIENT}:80";proto=http', f'for="{CLIENT}";by="[::1]"'):
        assert find(("Forwarded", f"{text}, {added}")) in (CLIENT, PROXY)


@given(TEXTS, TEXTS)
def test_a_second_header_makes_nobody_else(text, other):
    given = ("X-Forwarded-For", f"{other}, {CLIENT}")
    assert find(given, ("Forwarded", text)) in (CLIENT, PROXY)


HOSTS = st.sampled_from(
    ["shop.example", "evil.example", ".", ":", "8080", "@", "[", "]", "::1", "/", "\\", "%2e", "*"]
)


@given(st.lists(st.one_of(HOSTS, st.text(max_size=2)), max_size=6).map("".join))
def test_a_host_that_is_allowed_is_the_one_that_it_begins_and_ends_as(text):
    host = parse_authority(text)
    if host and match_host(["shop.example", "*.shop.example"])(host):
        name = text.lower().partition(":")[0].removesuffix(".")
        assert name == "shop.example" or name.endswith(".shop.example")
        assert not set(name) & set("@/\\%*[] \t\r\n")


PARENTS = st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True)
STATES = st.from_regex(r"[a-z]{1,3}=[a-z]{1,3}(,[a-z]{1,3}=[a-z]{1,3}){0,3}", fullmatch=True)
NAMES = st.sampled_from(["traceparent", "tracestate", "baggage"])


@given(st.lists(st.tuples(NAMES, st.one_of(st.text(max_size=60), PARENTS, STATES)), max_size=5))
def test_of_a_strangers_trace_only_what_is_valid_goes_on(headers):
    found = TraceReader(lambda _: False, lambda _: False).read(CIMultiDict(headers), CLIENT)
    assert set(found) <= {"traceparent", "tracestate"}
    if found:
        (given,) = (text for name, text in headers if name == "traceparent")
        version, trace, parent, flags = found["traceparent"].split("-")
        said = given.strip(" \t")
        assert said[2:35] == f"-{trace}"
        # A new parent-id where the sampled flag changes, and only there.
        assert (said[36:52] != parent) == bool(int(said[53:55], 16) & 1)
        assert version == "00"
        assert not int(flags, 16) & 1
        assert len(found.get("tracestate", "")) <= 512
