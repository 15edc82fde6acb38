"""AMQP URLs: what they mean, and that no error shows a password."""

import ssl

import pytest

from eventmesh.brokers.rabbitmq.address import Host, parse_address
from eventmesh.model.errors import AccessDenied, SettingsError


@pytest.mark.parametrize(
    ("url", "host", "port", "virtual_host", "user", "password"),
    [
        ("amqp://rabbit", "rabbit", 5672, "/", "guest", "guest"),
        ("amqps://rabbit", "rabbit", 5671, "/", "guest", "guest"),
        ("amqp://anna:pw@rabbit:1234/shop", "rabbit", 1234, "shop", "anna", "pw"),
        ("amqp://anna@rabbit", "rabbit", 5672, "/", "anna", "guest"),
        ("amqp://anna:@rabbit", "rabbit", 5672, "/", "anna", ""),
        ("amqp://rabbit/", "rabbit", 5672, "/", "guest", "guest"),
        ("amqp://rabbit/%2F", "rabbit", 5672, "/", "guest", "guest"),
        ("amqp://rabbit/%2Fshop", "rabbit", 5672, "/shop", "guest", "guest"),
        ("amqp://rabbit//shop", "rabbit", 5672, "/shop", "guest", "guest"),
        ("amqp://rabbit/b%C3%BCcher", "rabbit", 5672, "bücher", "guest", "guest"),
        ("amqp://a%40b:p%3Aw%2F%23%3F%25@rabbit", "rabbit", 5672, "/", "a@b", "p:w/#?%"),
        ("amqp://a:b@c:d@rabbit", "rabbit", 5672, "/", "a", "b@c:d"),
        ("amqp://[::1]", "::1", 5672, "/", "guest", "guest"),
        ("amqp://a:b@[fe80::1%25eth0]:99/x", "fe80::1%eth0", 99, "x", "a", "b"),
        ("AMQP://Rabbit", "rabbit", 5672, "/", "guest", "guest"),
    ],
)
def test_what_a_url_means(url, host, port, virtual_host, user, password):
    address = parse_address(url)
    assert address.hosts == (Host(host, port),)
    assert address.virtual_host == virtual_host
    assert (address.user, address.password) == (user, password)
    assert (address.tls is not None) == url.startswith("amqps")
    assert not address.external


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("amqp://a,b", [("a", 5672), ("b", 5672)]),
        ("amqps://a:1,b,c:3/shop", [("a", 1), ("b", 5671), ("c", 3)]),
        ("amqp://u:p,q@a:1,b:2/x?gateways=g,h", [("a", 1), ("b", 2)]),
        (
            "amqp://u:p@[::1]:1,[fe80::1%25eth0],10.0.0.1/x",
            [("::1", 1), ("fe80::1%eth0", 5672), ("10.0.0.1", 5672)],
        ),
    ],
)
def test_the_nodes_of_a_cluster(url, hosts):
    address = parse_address(url)
    assert address.hosts == tuple(Host(*host) for host in hosts)
    assert [address.at(host).hosts for host in address.hosts] == [(host,) for host in address.hosts]


def test_a_list_of_hosts_shares_everything_else(tmp_path):
    (tmp_path / "password").write_text("s3cr3t")
    address = parse_address(f"amqp://anna@a,[::1]:9/shop?password_file={tmp_path}/password")
    assert (address.user, address.password, address.virtual_host) == ("anna", "s3cr3t", "shop")
    assert repr(address) == "amqp://a:5672,[::1]:9/shop"
    assert repr(address.at(address.hosts[1])) == "amqp://[::1]:9/shop"
    (tmp_path / "password").write_text("new")
    assert address.renewed().hosts == address.hosts
    assert address.renewed().password == "new"


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "one without a scheme"),
        ("rabbit", "one without a scheme"),
        ("http://rabbit", "not http://"),
        ("amqp://", "must be amqp://user"),
        ("amqp:///shop", "must be amqp://user"),
        ("amqp://u:s3cr3t/x@rabbit", "percent-encode"),
        ("amqp://u:12/s3cr3t@rabbit", "percent-encode"),
        ("amqp://u:12?s3cr3t@rabbit", "percent-encode"),
        ("amqp://u:12#s3cr3t@rabbit", "percent-encode"),
        ("amqp://u:s3cr3t@rabbit:port", "percent-encode"),
        ("amqp://u:s3cr3t@rabbit:99999", "percent-encode"),
        ("amqp://u:s3cr3t@[rabbit", "percent-encode"),
        ("amqp://u:s3cr3t@rabbit/%2F#x", "'#'"),
        ("amqp://u:s3cr3t@a,,b", "must be amqp://user"),
        ("amqp://u:s3cr3t@a,b,", "must be amqp://user"),
        ("amqp://u:s3cr3t@a,b:port", "percent-encode"),
        ("amqp://u:s3cr3t@rabbit?heartbeat=5", "unknown option 'heartbeat': there are auth, ca"),
        ("amqp://u:s3cr3t@rabbit?cafile=x", "'cafile', which needs amqps://"),
        ("amqp://u:s3cr3t@rabbit?auth=external", "'auth', which needs amqps://"),
        ("amqps://u:s3cr3t@rabbit?auth=plain", "'auth' of the broker's URL can only be 'external'"),
        ("amqps://u:s3cr3t@rabbit?verify=all", "'verify' of the broker's URL can only be 'none'"),
        ("amqps://u:s3cr3t@rabbit?keyfile=x", "without a certfile"),
        ("amqps://u:s3cr3t@rabbit?cafile=/nowhere/ca.pem", "No such file"),
        ("amqps://u:s3cr3t@rabbit?cafile=", "an option without a value"),
        ("amqps://u:s3cr3t@rabbit?cafile=/dev/null", "TLS files"),
        ("amqps://u:s3cr3t@rabbit?certfile=/nowhere/me.pem", "No such file"),
        ("amqp://u:s3cr3t@rabbit?password_file=/nowhere/password", "No such file"),
        ("amqp://u:s3cr3t@rabbit?password_file=", "an option without a value"),
        ("amqp://u:s3cr3t@rabbit/" + "v" * 256, "longer than 255 bytes"),
        ("amqp://u:s3cr3t%00@rabbit/", "NUL"),
        ("amqp://u%00:s3cr3t@rabbit/", "NUL"),
    ],
)
def test_what_is_wrong_is_said_and_no_password_shown(url, advice):
    with pytest.raises(SettingsError) as caught:
        parse_address(url)
    assert advice in str(caught.value)
    assert "s3cr3t" not in f"{caught.value!r}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("text", ["s3cr3t", "s3cr3t\n", "s3cr3t\r\nsecond line\n"])
def test_a_password_from_a_file(tmp_path, text):
    (tmp_path / "password").write_bytes(text.encode())
    address = parse_address(f"amqp://anna:no@rabbit?password_file={tmp_path}/password")
    assert address.password == "s3cr3t"
    assert "s3cr3t" not in f"{address} {address!r}"


def test_a_password_keeps_its_spaces_and_must_be_text(tmp_path):
    path = tmp_path / "password"
    path.write_bytes(b" s3 cr3t ")
    assert parse_address(f"amqp://rabbit?password_file={path}").password == " s3 cr3t "
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        parse_address(f"amqp://rabbit?password_file={path}")


def test_certificates_are_verified_unless_a_test_says_otherwise():
    tls = parse_address("amqps://rabbit").tls
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    tls = parse_address("amqps://rabbit?verify=none").tls
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_NONE, False)
    assert parse_address("amqps://rabbit?auth=external").external


def test_the_user_of_a_certificate_is_named_where_the_url_names_it():
    assert parse_address("amqp://shop:secret@rabbit").sending_user == "shop"
    assert parse_address("amqps://shop@rabbit?auth=external").sending_user == ""
    both = "amqps://shop@rabbit?auth=external&users=per-service"
    assert parse_address(both).sending_user == "shop"


def test_an_address_shows_neither_user_nor_password():
    address = parse_address("amqps://anna:s3cr3t@rabbit/shop")
    assert repr(address) == str(address) == "amqps://rabbit:5671/shop"
    assert repr(parse_address("amqp://[::1]:9/a%2Fb")) == "amqp://[::1]:9/a%2Fb"


def test_files_are_read_again_for_a_new_connection(tmp_path):
    file = tmp_path / "password"
    file.write_text("old")
    address = parse_address(f"amqp://anna@rabbit?password_file={file}")
    file.write_text("new")
    assert (address.password, address.renewed().password) == ("old", "new")
    file.unlink()
    with pytest.raises(AccessDenied, match="password_file cannot be read"):
        address.renewed()


def test_an_address_without_files_stays_as_it_is():
    address = parse_address("amqp://anna:s3cr3t@rabbit")
    assert address.renewed() is address
    assert address.url == ""


@pytest.mark.parametrize(
    ("url", "cluster"),
    [
        ("amqp://one", False),
        ("amqp://one,two", True),
        ("amqp://one?cluster=auto", False),
        ("amqp://balancer?cluster=true", True),
        ("amqp://one,one?cluster=false", False),
    ],
)
def test_it_is_a_cluster_if_it_has_several_hosts_or_was_said_to_be(url, cluster):
    assert parse_address(url).is_cluster == cluster


def test_nothing_else_is_said_of_a_cluster():
    with pytest.raises(SettingsError, match="cluster"):
        parse_address("amqp://one?cluster=three")
