"""HTTP echo of a validated order, driven by wrk."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.order import BODY
from benchmarks.processes import Figures, LeftOut, Running, running
from benchmarks.scenario import Bench, Scenario

CONNECTIONS: Final = 32
START_SECONDS: Final = 20
JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}


def load(bench: Bench, server: str) -> Figures:
    """Requests a second that `server` answers with 200, over `CONNECTIONS` connections."""
    port = free_port()
    with serving(server, port):
        return {"rate": drive(f"http://127.0.0.1:{port}/echo", JSON, quick=bench.quick)["rate"]}


def drive(url: str, headers: Mapping[str, str], *, quick: bool) -> Figures:
    """Post orders with these headers, and measure how many a second are answered with 200.

    `requests` is how many there were in all, with the warm-up.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LeftOut("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        lines = [f'wrk.headers["{name}"] = [==[{text}]==]\n' for name, text in headers.items()]
        script.write_text(
            f'wrk.method = "POST"\n{"".join(lines)}wrk.body = [==[{BODY.decode()}]==]\n'
        )
        command = [wrk, "-t1", f"-c{CONNECTIONS}", "-s", str(script), url]
        seconds = 1 if quick else 5
        said = [_run(*command, duration) for duration in ("-d1s", f"-d{seconds}s")]
    rates = re.findall(r"Requests/sec:\s+([\d.]+)", said[-1])
    counts = re.findall(r"(\d+) requests in", "".join(said))
    if "Non-2xx" in said[-1] or not rates:
        raise LeftOut(f"wrk says: {said[-1]}")
    return {"rate": float(rates[0]), "requests": sum(map(float, counts))}


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def serving(server: str, port: int, environ: Mapping[str, str] | None = None) -> Generator[Running]:
    """Run one of the servers of `http_servers`, with these variables, while entered."""
    command = ("-m", "benchmarks.http_servers", server, str(port))
    with running(*command, environ=environ) as process:
        _wait_until_open(port, process)
        yield process


def _wait_until_open(port: int, process: Running) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            process.check()
            time.sleep(0.05)
        else:
            return
    raise LeftOut(f"did not listen within {START_SECONDS} s")


SCENARIO = Scenario(
    f"HTTP echo of an order, wrk, {CONNECTIONS} connections",
    {
        "eventmesh": "eventmesh",
        "aiohttp": "a handler written by hand for aiohttp",
        "fastapi": "FastAPI on uvicorn",
        "blacksheep": "blacksheep on uvicorn",
    },
    {"rate": "requests/s"},
    load,
)
