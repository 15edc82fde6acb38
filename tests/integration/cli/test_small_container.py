"""A service with 256 MB of memory, or with few descriptors, and clients that want more."""

import asyncio
import gzip
import re
import resource
from io import BytesIO
from itertools import product
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession, TCPConnector
from launching import launched
from memory_group import memory_group

MIB = 1024 * 1024
MEMORY = 256 * MIB
CONNECTIONS = 1000
SERVICE = """\
from pydantic import BaseModel
from eventmesh import Service, on

app = Service("bank")

class Transfer(BaseModel):
    to: str
    lines: list[dict[str, int]]

@app.function(on.post("/transfers"))
async def transfer(transfer: Transfer) -> None: ...

@app.function(on.get("/"))
async def hello() -> str:
    return "hello"
"""
BOMBS = {
    "lists": b"[" + b"[]," * 2_000_000 + b"[]]",
    "objects": b"[" + b'{"":0},' * 890_000 + b"{}]",
    "zeros": b'{"to":"' + b"0" * 6_000_000 + b'"}',
}
JSON = {"Content-Type": "application/json"}
PATHS = ("/transfers", "/2015-03-31/functions/no.such/invocations", "/_eventmesh/events")
READY = r"worker 1 \(process (\d+)\) is ready at (http://\S+)"
CLOSED = 0
STATUSES = {CLOSED, 400, 404, 413, 415, 422, 429, 503}
"""What a bomb gets, by what it is and where it is sent; some are refused while they are sent."""


@pytest.fixture
def descriptors():
    """Enough descriptors for the clients; the servers get what is set for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def run_within(tmp_path, environment):
    """Run the service by a command, as `eventmesh run`."""
    (tmp_path / "app.py").write_text(SERVICE)
    command = ("run", "app.py", "--port=0", "--admin-port=0", "--log-format=text", "--workers=1")

    def run(*within, **variables):
        return launched(*command, cwd=tmp_path, environment=environment | variables, within=within)

    return run


def peak(process):
    """MiB that a process had at most (proc_pid_status(5))."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


async def post(http, path, body, packed):
    headers = JSON | ({"Content-Encoding": "gzip"} if packed else {})
    data = BytesIO(gzip.compress(body) if packed else body)
    try:
        async with http.post(path, data=data, headers=headers) as answer:
            return answer.status
    except ClientConnectionError:  # It is reset, or ends, whichever the client sees first.
        return CLOSED


async def begin_body(port, start, coding="gzip"):
    """A connection with the beginning of a body that never ends."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /transfers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Encoding: %b\r\nContent-Length: 900000\r\n\r\n" % coding.encode() + start
    )
    return writer


async def say_hello(url, address):
    """What a client at another address gets."""
    connector = TCPConnector(local_addr=(address, 0), force_close=True)
    async with ClientSession(connector=connector) as http, http.get(url) as answer:
        return answer.status


async def test_a_process_with_256_mb_survives_bombs_and_a_thousand_connections(
    run_within, descriptors, record_figure
):
    with memory_group(MEMORY) as within:
        # Where no group can be had, the process must be told; what it took is looked at.
        told = {} if within else {"EVENTMESH_MAX_BODIES": str(MEMORY // 4)}
        async with run_within(*within, **told) as launch:
            found = await launch.line(READY)
            process, url = found[1], found[2]
            before = peak(process)
            async with ClientSession(url) as http:
                for path, body, packed in product(PATHS, BOMBS.values(), (True, False)):
                    assert await post(http, path, body, packed) in STATUSES
                bombs = peak(process)
                body = BOMBS["lists"]
                await asyncio.gather(*(post(http, "/transfers", body, True) for _ in range(60)))
            port = int(url.rpartition(":")[2])
            # Each begins a bomb of 6 KB, and does not end it.
            start = gzip.compress(BOMBS["objects"])[:6000]
            writers = [await begin_body(port, start) for _ in range(CONNECTIONS)]
            assert await say_hello(url, "127.0.0.2") == 200
            begun = peak(process)
            for writer in writers:
                writer.close()
            start = b"[" + b"0," * 100_000
            writers = [await begin_body(port, start, "identity") for _ in range(CONNECTIONS)]
            assert await say_hello(url, "127.0.0.2") == 200
            most = peak(process)
            for writer in writers:
                writer.close()
            assert not [line for line in launch.lines if "worker 1 ended" in line]
            assert most < MEMORY / MIB
    record_figure(
        f"256 MB{'' if within else ' (no control group)'}: {before:.0f} MiB at the start, "
        f"{bombs:.0f} after {2 * len(PATHS) * len(BOMBS)} bombs, {begun:.0f} with {CONNECTIONS:,} "
        f"connections that begin one, {most:.0f} with as many that send 200 KB"
    )


async def test_idle_connections_beyond_the_descriptors_shut_nobody_out(run_within, descriptors):
    within = ("sh", "-c", 'ulimit -n 256 && exec "$0" "$@"')
    async with run_within(*within) as launch:
        url = (await launch.line(READY))[2]
        port = int(url.rpartition(":")[2])
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
        assert await say_hello(url, "127.0.0.2") == 200
        await launch.line("a connection was refused: see EVENTMESH_HTTP_MAX_CONNECTIONS")
        for _, writer in idle:
            writer.close()
        assert not [line for line in launch.lines if "Too many open files" in line]
