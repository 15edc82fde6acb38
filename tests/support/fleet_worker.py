"""A worker process for the fault tests: `python fleet_worker.py URL SERVICE [ARGUMENT]`.

It says on its standard output what its handlers do. On SIGUSR1 it says what it has: tasks,
connections, memory. A line "clock SECONDS" on its standard input sets its wall clock that much off.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import uvloop
from cluster_load.service import load
from footprint import footprint, memory
from labour import labour, say
from lambda_service import build_service
from places import Places

from eventmesh import Context, Event, Retry, Service, on
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.processes.stop_signals import on_stop_signals
from eventmesh.processes.worker import serve_services

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
        say(f"drained {drained} {memory('VmHWM')}")


slots = Service("slots")


@slots.resource
async def open_places() -> AsyncIterator[Places]:
    with closing(Places(sys.argv[3])) as places:
        yield places


@slots.function(concurrency=5, reserved_concurrency=3, retry=Retry(3, initial=0.1))
async def guarded(number: int, places: Places) -> None:
    with places.taken() as place:
        say(f"enter {number} {place}")
        await asyncio.to_thread(labour, 60_000)
    say(f"leave {number} {place}")


timers = Service("timers")


@timers.function(on.every("200ms", catch_up="all"))
async def tick(event: Event, ctx: Context) -> None:
    say(f"tick {event.time.timestamp():.3f} {ctx.id}")


dead = Service("dead")


@dead.function(retry=Retry(1))
async def letter(number: int) -> None:
    say(f"redriven {number}")


def build_lambdas():
    # Only here: what it declares is looked for on this machine.
    return build_service(sys.argv[3], str(Path(__file__).parent))


SERVICES = {service.name: service for service in (crash, backlog, slots, timers, dead, load)}
ANNOUNCED = {"functions": build_lambdas}


class SetClock(SystemClock):
    """A wall clock that an operator sets, while time goes on as ever."""

    offset = 0.0

    def now(self):
        return time.time() + self.offset


def obey_parent(clock):
    """Do what the test says; when it is killed, its end of the standard input is closed: end."""
    # Not by sys.stdin, which a thread that reads it keeps from being closed at the end.
    while command := os.read(0, 64).split():
        clock.offset = float(command[1])
        say("clock set")
    os._exit(1)


def say_footprint():
    say(f"footprint {' '.join(map(str, footprint()))}")


def serving(name, broker, clock):
    if name in ANNOUNCED:
        return serve_services([ANNOUNCED[name]()], broker, Settings(grace=20, http_port=0))
    return host_services([SERVICES[name]], broker, Settings(grace=20), clock=clock, http=None)


async def main(clock, url, name):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, say_footprint)
    with on_stop_signals(lambda _: stop.set()):
        async with (
            RabbitBroker(url, name=f"worker {os.getpid()}", clock=clock) as broker,
            serving(name, broker, clock),
        ):
            say("ready")
            await stop.wait()


if __name__ == "__main__":
    wall_clock = SetClock()
    threading.Thread(target=obey_parent, args=[wall_clock], daemon=True).start()
    uvloop.run(main(wall_clock, *sys.argv[1:3]))
