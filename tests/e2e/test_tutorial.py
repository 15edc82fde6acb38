"""The part of the tutorial that needs containers: a service of the reader's own joins the shop."""

import pytest_asyncio
from composed import composed, run
from machine import free_ports
from reader import IN_CONTAINERS, Reader


@pytest_asyncio.fixture(loop_scope="session")
async def reader(project, tmp_path, keep_logs):
    """A reader whose shop is the one that all tests share; it runs again afterwards."""
    tag = project.name
    (amqp,) = free_ports(1)
    instead = {
        "http://127.0.0.1:8080": project.url,
        "127.0.0.1:5672": f"127.0.0.1:{amqp}",
        "loyalty-rabbitmq": f"{tag}-loyalty-rabbitmq",
        "docker compose --file": f"docker compose --project-name {tag} --file",
        "--tag ": f"--tag {tag}-",
        "TAG=": f"TAG={tag}-",
        "loyalty:1": f"loyalty:{tag}-1",
        "loyalty:2": f"loyalty:{tag}-2",
    }
    port = project.url.rpartition(":")[2]
    reader = Reader(
        tmp_path,
        instead,
        COMPOSE=f"env TAG={tag} GATEWAY_PORT={port} docker compose --project-name {tag}",
        COMPOSE_PROJECT_NAME=f"{tag}-loyalty",
        MESH_NETWORK=f"{tag}_mesh",
        EVENTMESH_URL=project.url,
        POSTGRES_IMAGE=project.postgres_image,
    )
    try:
        async with composed(f"{tag}-loyalty", tmp_path) as loyalty:
            try:
                yield reader
            finally:
                await keep_logs(loyalty)
    finally:
        await run("docker", "rm", "--force", "--volumes", f"{tag}-loyalty-rabbitmq")
        await run("docker", "image", "rm", "--force", f"loyalty:{tag}-1", f"loyalty:{tag}-2")
        await project.compose("up", "--detach", "--wait")


async def test_a_service_of_ones_own_joins_the_shop_is_scaled_and_replaced(reader):
    await reader.follow("A service of your own", *IN_CONTAINERS)
