"""The first service of the README, as a newcomer types it."""

from machine import free_ports
from reader import Reader


async def test_a_first_service(tmp_path):
    http, admin = free_ports(2)
    reader = Reader(
        tmp_path,
        {"127.0.0.1:8080": f"127.0.0.1:{http}"},
        "README.md",
        EVENTMESH_HTTP_PORT=str(http),
        EVENTMESH_ADMIN_PORT=str(admin),
    )
    await reader.follow("A first service")
