"""What the container in which this runs can do at RabbitMQ, as whoever holds its secrets.

It is run inside a container of a service, by the shop's tests. It prints what became of each
attempt, as JSON: the first word of RabbitMQ's refusal, or "done".
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import aiormq
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic

URL = os.environ["EVENTMESH_BROKER"]


async def publish(channel, exchange, key="", **properties):
    await channel.basic_publish(
        b"{}", exchange=exchange, routing_key=key, properties=Basic.Properties(**properties)
    )


async def consume(channel, queue):
    await channel.basic_consume(queue, lambda message: None)


OPERATIONS = {
    "publish": publish,
    "forge": lambda channel, exchange, user: publish(channel, exchange, user_id=user),
    "consume": consume,
    "get": lambda channel, queue: channel.basic_get(queue),
    "purge": lambda channel, queue: channel.queue_purge(queue),
    "delete": lambda channel, queue: channel.queue_delete(queue),
    "bind": lambda channel, queue, exchange: channel.queue_bind(queue, exchange, "#"),
    "bind-exchange": lambda channel, to, source: channel.exchange_bind(to, source),
    "declare": lambda channel, queue: channel.queue_declare(queue, durable=True),
    "delete-exchange": lambda channel, exchange: channel.exchange_delete(exchange),
    "declare-exchange": lambda channel, exchange: channel.exchange_declare(
        exchange, exchange_type="topic", durable=True
    ),
}


async def attempt(connection, operation, *arguments):
    channel = await connection.channel(publisher_confirms=True)
    try:
        await OPERATIONS[operation](channel, *arguments)
    except AMQPError as error:
        return str(error).partition(" ")[0].strip("(\"'")
    finally:
        if not channel.is_closed:
            await channel.close()
    return "done"


def login():
    user, _, rest = URL.partition("://")[2].partition("@")
    options = dict(pair.split("=") for pair in rest.partition("?")[2].split("&"))
    password = Path(options["password_file"]).read_text("ascii")
    return f"amqps://{user}:{password}@rabbitmq/?cafile={options['cafile']}"


async def main(attempts):
    connection = await aiormq.connect(login())
    try:
        print(json.dumps([await attempt(connection, *each) for each in attempts]))
    finally:
        await connection.close()


asyncio.run(main(json.loads(sys.argv[1])))
