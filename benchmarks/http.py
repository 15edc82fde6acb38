"""HTTP echo of a validated order, driven by wrk: requests a second of each server."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.order import BODY

CONNECTIONS = 32
START_SECONDS = 20


def run(server: str, seconds: int = 5) -> float:
    """Requests a second that `server` answers with 200, over `CONNECTIONS` connections."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    with _serving(server) as url, tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        script.write_text(
            'wrk.method = "POST"\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
            f"wrk.body = [==[{BODY.decode()}]==]\n"
        )
        command = [wrk, "-t1", f"-c{CONNECTIONS}", "-s", str(script), url]
        subprocess.run([*command, "-d1s"], check=True, capture_output=True)
        measured = subprocess.run(
            [*command, f"-d{seconds}s"], check=True, capture_output=True, text=True
        )
    if "Non-2xx" in measured.stdout:
        raise SystemExit(f"{server} failed requests:\n{measured.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", measured.stdout)
    if rate is None:
        raise SystemExit(f"wrk printed no rate:\n{measured.stdout}{measured.stderr}")
    return float(rate[1])


@contextmanager
def _serving(server: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.http_servers", server, str(port)]
    process = subprocess.Popen(command)
    try:
        _wait_until_open(port, process)
        yield f"http://127.0.0.1:{port}/echo"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"{process.args!r} did not listen within {START_SECONDS} s")
