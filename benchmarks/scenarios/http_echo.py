"""HTTP echo of a validated order, driven by wrk."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.order import BODY
from benchmarks.processes import Figures, LeftOut, Running, running
from benchmarks.scenario import Bench, Scenario

CONNECTIONS: Final = 32
START_SECONDS: Final = 20


def load(bench: Bench, server: str) -> Figures:
    """Requests a second that `server` answers with 200, over `CONNECTIONS` connections."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LeftOut("wrk is not installed: apt-get install wrk")
    with _serving(server) as url, tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        script.write_text(
            'wrk.method = "POST"\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
            f"wrk.body = [==[{BODY.decode()}]==]\n"
        )
        command = [wrk, "-t1", f"-c{CONNECTIONS}", "-s", str(script), url]
        subprocess.run([*command, "-d1s"], check=True, capture_output=True)
        seconds = 1 if bench.quick else 5
        measured = subprocess.run(
            [*command, f"-d{seconds}s"], check=True, capture_output=True, text=True
        )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", measured.stdout)
    if "Non-2xx" in measured.stdout or rate is None:
        raise LeftOut(f"wrk says: {measured.stdout}{measured.stderr}")
    return {"rate": float(rate[1])}


@contextmanager
def _serving(server: str) -> Generator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with running("-m", "benchmarks.http_servers", server, str(port)) as process:
        _wait_until_open(port, process)
        yield f"http://127.0.0.1:{port}/echo"


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
