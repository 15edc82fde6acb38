from eventmesh.http.limits.connections import ConnectionCount


def count(most=100, most_of_peer=2, trusted=()):
    return ConnectionCount(most, most_of_peer, lambda address: address in trusted)


def test_there_are_so_many_in_all():
    connections = count(most=3)
    assert [connections.add(f"10.0.0.{n}") for n in range(3)] == ["", "", ""]
    assert connections.add("10.0.0.9") == "there are 3 connections already"
    connections.remove("10.0.0.1")
    assert connections.total == 2
    assert connections.add("10.0.0.9") == ""


def test_there_are_so_many_of_one_client():
    connections = count()
    assert [connections.add("10.0.0.1") for _ in range(2)] == ["", ""]
    assert connections.add("10.0.0.1") == "10.0.0.1 has 2 connections already"
    assert connections.add("10.0.0.2") == ""
    connections.remove("10.0.0.1")
    assert connections.add("10.0.0.1") == ""
    assert connections.total == 3


def test_a_client_of_ipv6_is_a_network():
    connections = count()
    assert connections.add("2001:db8:1:2::1") == ""
    assert connections.add("2001:db8:1:2:ffff::1%eth0") == ""
    assert connections.add("2001:db8:1:2::3") == "2001:db8:1:2::/64 has 2 connections already"
    assert connections.add("2001:db8:1:3::1") == ""
    assert [connections.add(one) for one in ("::ffff:10.0.0.1", "10.0.0.1")] == ["", ""]
    assert connections.add("10.0.0.1")


def test_proxies_that_are_trusted_stand_for_many_clients():
    connections = count(most=5, trusted=("10.0.0.1",))
    assert [connections.add("10.0.0.1") for _ in range(5)] == [""] * 5
    assert connections.add("10.0.0.1") == "there are 5 connections already"


def test_clients_without_an_address_count_in_all_only():
    connections = count(most=5)
    assert [connections.add("") for _ in range(5)] == [""] * 5
    assert connections.add("")
