"""The part of the tutorial that needs no containers; the rest is followed in tests/e2e."""

from machine import free_ports
from reader import AT_HOME, IN_CONTAINERS, OVER_RABBITMQ, Reader, sections


def test_every_section_is_followed():
    assert set(sections()) == {*AT_HOME, *OVER_RABBITMQ, *IN_CONTAINERS}


async def test_at_home_and_over_rabbitmq(tmp_path, rabbitmq):
    http, admin = free_ports(2)
    instead = {
        "127.0.0.1:8080": f"127.0.0.1:{http}",
        "127.0.0.1:9464": f"127.0.0.1:{admin}",
        "amqp://guest:guest@127.0.0.1:5672/": await rabbitmq.new_virtual_host(),
    }
    reader = Reader(
        tmp_path,
        instead,
        EVENTMESH_HTTP_PORT=str(http),
        EVENTMESH_ADMIN_PORT=str(admin),
        EVENTMESH_LOG_FORMAT="text",
    )
    reader.variables["EVENTMESH_URL"] = f"http://127.0.0.1:{http}"
    await reader.follow(*AT_HOME)
    # From here on they ask the broker: this is the default that the tutorial goes by.
    del reader.variables["EVENTMESH_URL"]
    await reader.follow(*OVER_RABBITMQ)
