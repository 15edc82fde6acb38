"""A service whose functions run in processes of their own: imported by them, and by the tests."""

import asyncio
import ctypes
import itertools
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel

from eventmesh import Context, PartialFailure, Problem, Reject, Retry, Service, on

app = Service("isolated")
limited = Service("limited", calls=["isolated.double"], emits=[])


class Marker:
    """A resource that knows where it was opened."""

    def __init__(self, pid: int) -> None:
        self.pid = pid


@app.resource
async def open_marker() -> AsyncIterator[Marker]:
    yield Marker(os.getpid())
    print("the marker is closed", flush=True)


class Order(BaseModel):
    item: str


@app.function
async def double(number: int, ctx: Context) -> dict[str, object]:
    return {"number": 2 * number, "caller": ctx.caller, "principal": ctx.identity.principal}


def _list_descriptors() -> list[int]:
    return sorted(int(each.name) for each in Path("/proc/self/fd").iterdir())


@app.function(isolation="process", instances=2)
async def where(marker: Marker, ctx: Context) -> dict[str, object]:
    print("printed", flush=True)
    ctx.logger.warning("logged %s", "here")
    return {
        "pid": os.getpid(),
        "marker": marker.pid,
        "environment": sorted(os.environ),
        "descriptors": _list_descriptors(),
    }


@app.function(isolation="process", instances=1)
async def asks(number: int, ctx: Context) -> object:
    await ctx.send("isolated.receives", {"text": "sent"})
    await ctx.emit("thing.happened", {"text": "emitted"})
    return await ctx.invoke("isolated.double", {"number": number})


RECEIVED: list[str] = []
"""In the service's process."""


@app.function(on.event("thing.happened"))
async def receives(text: str) -> None:
    RECEIVED.append(text)


@app.function(isolation="process", instances=1)
async def counts(most: int) -> AsyncIterator[int]:
    for number in range(most):
        yield number
    if most == 3:
        raise ValueError("after the third")


@app.function(on.post("/orders"), isolation="process", instances=1)
async def order(order: Order, ctx: Context) -> str:
    if order.item == "none":
        raise Problem(409, "sold out", item=order.item)
    return f"{order.item} {ctx.trigger}"


@app.function(on.queue("parts", batch=3, batch_window=0.05), isolation="process", instances=1)
async def batch(orders: list[Order]) -> None:
    failed = {index: Reject("bad") for index, each in enumerate(orders) if each.item == "bad"}
    if failed:
        raise PartialFailure(failed)


_SLEEP = "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(600)"
_CHILD = f"import os, sys, time; {_SLEEP}"
_DAEMON = f"""
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
{_SLEEP}
"""
"""In a session of its own, and nobody's child any more."""
_ORPHAN = "import os; os.setsid(); os.fork() and os._exit(0)"


def _read_lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).exists() else []


@app.function(isolation="process", instances=2, timeout=2, retry=Retry(attempts=1))
def spins(how: str, file: str) -> None:
    """Do not end, in a way that no signal but SIGKILL ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "forks":
        for script in (_CHILD, _DAEMON):
            subprocess.Popen([sys.executable, "-c", script, file])
        while len(_read_lines(file)) < 2:
            time.sleep(0.01)
    with Path(file).open("a") as report:
        report.write(f"{os.getpid()}\n")
    if how == "C":
        ctypes.CDLL(None).sleep(600)
    sum(itertools.repeat(1))


@app.function(isolation="process", instances=1, memory="96M", timeout=60, retry=Retry(attempts=1))
def eats(megabytes: int) -> int:
    eaten = bytearray(megabytes * 2**20)
    time.sleep(600 if megabytes > 96 else 0)  # Until whatever limits it has looked.
    return len(eaten)


@app.function(isolation="process", instances=1, retry=Retry(attempts=1))
def ends(how: int) -> int:
    print("the last words", flush=True)
    if how < 0:
        os.kill(os.getpid(), -how)
        time.sleep(60)
    os._exit(how)


@app.function(
    isolation="process", instances=4, timeout=0.4, idle_timeout=0.2, retry=Retry(attempts=1)
)
def loops() -> None:
    """Loop in C, where Python sees no signal. One that is ready too late for that ends idle."""
    sum(itertools.repeat(1))


@app.function(isolation="process", instances=4, memory="160M", timeout=60, retry=Retry(attempts=1))
def dies(how: str) -> None:
    """End in the middle, with a child and a daemon that would live on."""
    for script in ("import time; time.sleep(600)", f"{_ORPHAN}; import time; time.sleep(600)"):
        if os.fork() == 0:
            exec(script)  # A program of its own would cost 30 ms to start.
    if how == "memory":
        eaten = []
        while True:
            eaten.append(b"x" * 2**20)
    if how == "status":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV if how == "crash" else signal.SIGKILL)


@app.function(isolation="process", instances=2, max_invocations=2)
async def recycled() -> int:
    return os.getpid()


@app.function(isolation="process", instances=1, idle_timeout=0.2)
async def idle() -> int:
    return os.getpid()


@app.function(isolation="process", instances=2, provisioned=1, idle_timeout=0.05)
async def kept() -> int:
    return os.getpid()


def _note(file: str, how: str) -> None:
    with Path(file).open("a") as report:
        report.write(f"{how}\n")


def _block() -> None:
    time.sleep(600)


@app.function(isolation="process", instances=1, concurrency=3, timeout=60)
async def shared(how: str, file: str = "") -> str:
    """Write into the file, if there is one, that it runs."""
    if file:
        _note(file, how)
    if how == "blocks":
        _block()
    if how == "waits":
        await asyncio.sleep(600)
    return how


@app.function(isolation="process", instances=1)
async def breaks(how: str) -> None:
    """Write to the socket to the service what is no frame."""
    junk = b"\xff" * 64 if how == "length" else b"\x00\x00\x00\x09\x63" + b"\x00" * 8
    for descriptor in _list_descriptors():
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, junk)
        except OSError:
            continue
    await asyncio.sleep(60)


@limited.function(isolation="process", instances=1)
async def calls(name: str, ctx: Context) -> object:
    # Past the check in the instance's own process, as code that was taken over would go.
    ctx._outgoing = None  # noqa: SLF001
    return await ctx.invoke(name, {"number": 1})


@limited.function(isolation="process", instances=1)
async def emits(type: str, ctx: Context) -> None:
    ctx._outgoing = None  # noqa: SLF001
    await ctx.emit(type, {})


async def _store(ctx: Context) -> None:
    async with ctx.transaction():
        pass


@limited.function(isolation="process", instances=1, retry=Retry(attempts=1))
async def stores(ctx: Context) -> None:
    await _store(ctx)


broken = Service("broken")
slow = Service("slow")
_IN_ZYGOTE = "eventmesh.instances.zygote.zygote" in sys.modules and "pytest" not in sys.modules
"""Whether the process that has imported this is one that instances are forked from."""


class Database:
    pass


@broken.resource
async def open_database() -> Database:
    if _IN_ZYGOTE:
        logging.getLogger("broken").error("about to fail")
        raise OSError("there is no database")
    return Database()


@broken.function(isolation="process", instances=1, retry=Retry(attempts=1))
async def never(database: Database) -> None: ...


class Slow:
    pass


@slow.resource
async def open_slowly() -> Slow:
    if _IN_ZYGOTE:
        await asyncio.sleep(600)
    return Slow()


@slow.function(name="never", isolation="process", instances=1, retry=Retry(attempts=1))
async def never_ready(slow: Slow) -> None: ...
