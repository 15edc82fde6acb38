import pytest

from eventmesh.aio.clock import SystemClock
from eventmesh.http.limits import limits as module
from eventmesh.http.limits.limits import RATE_GRACE, build_limits
from eventmesh.model.settings import Settings

MIB = 1024 * 1024


@pytest.fixture
def build(monkeypatch):
    """The limits on a machine with so much memory and so many descriptors."""

    def build(settings=Settings(), memory=256 * MIB, descriptors=1024):  # noqa: B008
        monkeypatch.setattr(module, "find_memory", lambda: memory)
        monkeypatch.setattr(module, "find_descriptors", lambda: descriptors)
        return build_limits(settings, SystemClock())

    return build


def admitted(limits, addresses):
    return sum(not limits.connections.add(address) for address in addresses)


MANY = [f"10.{n % 251}.{n // 251}.1" for n in range(5000)]


@pytest.mark.parametrize(
    ("memory", "descriptors", "most"),
    [(256 * MIB, 1024, 896), (256 * MIB, 1 << 20, 2048), (MIB, 20, 16), (1 << 40, 256, 192)],
)
def test_the_connections_follow_from_the_machine(build, memory, descriptors, most):
    assert admitted(build(memory=memory, descriptors=descriptors), MANY) == most
    assert admitted(build(memory=memory, descriptors=descriptors), ["::1"] * 3000) == most // 2


def test_connections_over_tls_take_more_memory(build):
    limits = build(Settings(http_tls_certificate="cert.pem"), descriptors=1 << 20)
    assert admitted(limits, MANY) == 227


def test_the_connections_that_are_set(build):
    assert admitted(build(Settings(http_max_connections=7)), MANY) == 7
    assert admitted(build(Settings(http_max_connections=7)), ["::1"] * 9) == 3
    assert admitted(build(Settings(http_max_peer_connections=5)), ["::1"] * 9) == 5
    trusting = Settings(http_max_peer_connections=5, trusted_proxies=("10.0.0.0/8",))
    assert admitted(build(trusting), ["10.0.0.1"] * 9) == 9


@pytest.mark.parametrize(
    ("settings", "memory", "most"),
    [
        (Settings(), 256 * MIB, 64 * MIB),
        (Settings(), 8 * MIB, 16 * MIB),
        (Settings(max_body=40 * MIB), 64 * MIB, 40 * MIB),
        (Settings(max_bodies=5), 256 * MIB, 5),
    ],
)
def test_the_memory_for_bodies(build, settings, memory, most):
    assert build(settings, memory=memory).bodies.most == most


def test_the_time_for_a_body(build):
    limits = build(Settings(http_read_timeout=30, http_min_body_rate=1000))
    assert [limits.body_deadline(n) for n in (0, 1000, 24_000, 10**9)] == [RATE_GRACE, 6, 29, 30]
    assert build(Settings(http_min_body_rate=0)).body_deadline(0) == 30
    assert build(Settings(http_read_timeout=2)).body_deadline(10**9) == 2
