"""The shop in containers does what it does in one process, and no more can be reached of it."""

import json

import pytest
from composed import Failed, run

MEMORY_HOG = "print(len(bytearray(b'x' * (1 << 30))))"
MAILS = """
import json, mailbox
print(json.dumps([[mail["To"], mail["Subject"]] for mail in mailbox.Maildir("/data/mails")]))
"""


async def test_an_order_is_paid_mailed_and_reported(shop, project):
    status, order = await shop.order(customer="ada@shop.example")
    assert (status, order["status"]) == (201, "placed")
    assert (await shop.closed(order["order_id"]))["status"] == "confirmed"
    await shop.until(lambda: mails_to("ada@shop.example", project), lambda mails: len(mails) == 1)
    await shop.until(
        lambda: shop.text("/reports/orders.csv"), lambda text: order["order_id"] in text
    )


async def test_an_order_that_cannot_be_paid_gives_back_what_it_held(shop):
    held = (await shop.get("/inventory/ledger"))["available"]
    status, order = await shop.order(count=900)
    assert status == 201
    assert (await shop.closed(order["order_id"]))["status"] == "cancelled"
    await shop.balanced()
    assert (await shop.get("/inventory/ledger"))["available"] == held


async def test_one_door_has_the_routes_of_all_services(shop):
    routes = (await shop.get("/openapi.json"))["paths"]
    assert {"/orders", "/inventory/items", "/payments/ledger", "/reports/days"} <= set(routes)


async def test_images_run_as_nobody_and_say_how_they_are(project, say):
    for name in project.images:
        (image,) = json.loads(await run("docker", "image", "inspect", name))
        say(f"{name.partition(':')[0]}: {image['Size'] / 1e6:.0f} MB")
        assert image["Config"]["User"] == "10001:10001"
        assert image["Config"]["Healthcheck"]["Test"][0] == "CMD"


async def test_only_the_gateway_is_published_and_only_on_this_machine(project):
    published = {
        container.service: {at["HostIp"] for ports in container.ports for at in ports}
        for container in await project.running()
    }
    assert published.pop("gateway") == {"127.0.0.1"}
    assert not any(published.values())


async def test_what_is_on_another_network_cannot_reach_the_services(project):
    (orders,) = [one for one in await project.running() if one.service == "orders"]
    ask = f"import socket; socket.create_connection(('{orders.address}', 8080), 5); print('in')"
    assert await project.execute("gateway", "python", "-c", ask) == "in\n"
    outside = (*("docker", "run", "--rm", "--entrypoint", "python"), orders.image, "-c", ask)
    with pytest.raises(Failed, match=r"TimeoutError|unreachable"):
        await run(*outside)


async def test_memory_is_limited_and_nothing_but_volumes_is_written(project, shop):
    for container in await project.running():
        assert container.host["Memory"] > 0, container.service
        assert container.host["ReadonlyRootfs"], container.service
    with pytest.raises(Failed, match=r"ended with 137|MemoryError"):
        await project.execute("orders", "python", "-c", MEMORY_HOG)
    assert (await shop.order())[0] == 201


async def mails_to(customer, project):
    mails = json.loads(await project.execute("mailbox", "python", "-c", MAILS))
    return [subject for to, subject in mails if to == customer]
