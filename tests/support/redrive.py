"""Redrive all dead letters of a function: `python redrive.py URL FUNCTION`."""

import asyncio
import sys

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.clock import SystemClock
from eventmesh.dead_letters import BrokerDeadLetters


async def main(url, function):
    async with RabbitBroker(url, name="redrive", connect_timeout=30) as broker:
        await BrokerDeadLetters(broker, SystemClock()).redrive(function)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
