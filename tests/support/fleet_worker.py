"""A worker process for the fault tests: `python fleet_worker.py URL SERVICE`.

It says on its standard output what its handlers do. A line is one write, which a kill cannot cut.
"""

import asyncio
import hashlib
import os
import resource
import sys

import uvloop

from eventmesh import Context, Event, Retry, Service, on
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.cli.signals import told_to_stop
from eventmesh.host import hosting
from eventmesh.settings import Settings


def say(text):
    os.write(1, f"{text}\n".encode())


def labour(rounds=2000):
    """About a millisecond of work."""
    hashlib.pbkdf2_hmac("sha256", b"work", b"salt", rounds)


crash = Service("crash")


@crash.function(concurrency=10, retry=Retry(3, initial=0.1))
async def work(number: int) -> None:
    labour()
    say(f"handled {number}")


@crash.function
async def double(number: int) -> int:
    return 2 * number


@crash.function(on.event("crash.happened"))
async def witness(number: int) -> None:
    say(f"event {number}")


backlog = Service("backlog")
drained = 0


@backlog.function(timeout=None)
async def drain(number: int) -> None:
    global drained
    drained += 1
    if drained % 1000 == 0:
        say(f"drained {drained} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")


slots = Service("slots")


@slots.function(concurrency=5, reserved_concurrency=3, retry=Retry(3, initial=0.1))
async def guarded(number: int) -> None:
    say(f"enter {number}")
    await asyncio.to_thread(labour, 60_000)
    say(f"leave {number}")


timers = Service("timers")


@timers.function(on.every("200ms", catch_up="all"))
async def tick(event: Event, ctx: Context) -> None:
    say(f"tick {event.time.timestamp():.3f} {ctx.id}")


dead = Service("dead")


@dead.function(retry=Retry(1))
async def letter(number: int) -> None:
    say(f"redriven {number}")


SERVICES = {service.name: service for service in (crash, backlog, slots, timers, dead)}


async def main(url, name):
    stop = asyncio.Event()
    with told_to_stop(lambda _: stop.set()):
        async with (
            RabbitBroker(url, name=f"worker {os.getpid()}") as broker,
            hosting([SERVICES[name]], broker, Settings(grace=20), http=False),
        ):
            say("ready")
            await stop.wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
