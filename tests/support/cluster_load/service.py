"""The service under load: a function for each kind, which says what it has handled."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing

from labour import say
from places import Places

from cluster_load.kinds import PERIOD, SLOTS
from eventmesh import Context, Event, Retry, Service, on

HOLD = 0.1
"""Seconds for which a run keeps its slot."""

load = Service("load")
PATIENT = Retry(12, initial=0.2, maximum=5)


@load.resource
async def open_places() -> AsyncIterator[Places]:
    with closing(Places(sys.argv[3])) as places:
        yield places


@load.function(concurrency=20, retry=PATIENT)
async def work(number: int) -> None:
    say(f"asynchronous {number}")


@load.function(concurrency=20, retry=PATIENT)
async def later(number: int, due: float) -> None:
    say(f"delayed {number} {time.time() - due:.3f}")


@load.function(concurrency=20, retry=PATIENT)
async def again(number: int, ctx: Context) -> None:
    if ctx.attempt == 1:
        raise RuntimeError("the first attempt fails")
    say(f"retried {number}")


@load.function(on.event("load.happened"), concurrency=20, retry=PATIENT)
async def witness(number: int) -> None:
    say(f"event {number}")


@load.function(on.event("load.#"), concurrency=20, retry=PATIENT)
async def other_witness(number: int) -> None:
    say(f"event_copy {number}")


@load.function(on.queue("load.numbers", batch=10, batch_window=0.2), retry=PATIENT)
async def pack(numbers: list[int]) -> None:
    for number in numbers:
        say(f"batch {number}")


@load.function(concurrency=4, reserved_concurrency=SLOTS, retry=PATIENT)
async def guarded(number: int, places: Places) -> None:
    with places.taken() as place:
        say(f"place {place}")
        await asyncio.sleep(HOLD)
    say(f"slots {number}")


@load.function(on.every(PERIOD, catch_up="all"))
async def tick(event: Event, ctx: Context) -> None:
    moment = event.time.timestamp()
    say(f"timer {moment:.3f} {time.time() - moment:.3f} {ctx.id}")


@load.function(concurrency=20)
async def double(number: int) -> int:
    return 2 * number
