"""Ports and programs of the machine that the tests run on."""

import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from itertools import islice

CALL_SECONDS = 60
START_SECONDS = 120

PORTS = range(20_000, 32_000)
"""No outgoing connection takes one of these while a server is down (ip_local_port_range)."""

SHARES = 12
"""Processes of a run among which they are divided, so that none takes one that another chose."""

WORKER_VARIABLE = "PYTEST_XDIST_WORKER"


def free_ports(count: int) -> list[int]:
    """Return ports that are free, and that no other worker of this run returns."""
    # gw0, gw1, …; the process that controls them has the first share.
    worker = int(os.environ.get(WORKER_VARIABLE, "gw-1").removeprefix("gw")) + 1
    mine = PORTS[worker % SHARES :: SHARES]
    return list(islice(filter(is_free, random.sample(mine, len(mine))), count))


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def run(
    command: list[str],
    environment: dict[str, str],
    timeout: float = CALL_SECONDS,
    **options: object,
) -> str:
    """Return what a program prints; raises RuntimeError if it fails."""
    done = subprocess.run(
        command,
        env=environment,
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def wait_stopped(is_stopped: Callable[[], bool], name: str) -> None:
    """Wait until a server that was sent SIGSTOP runs no more: its threads go on for a moment.

    Raises RuntimeError if it takes too long.
    """
    end = time.monotonic() + CALL_SECONDS
    while not is_stopped():
        if time.monotonic() > end:
            raise RuntimeError(f"{name} did not stop within {CALL_SECONDS} s")
        time.sleep(0.005)


def quiet() -> dict[str, int]:
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def wait_for_line(server: subprocess.Popen[str], text: str, name: str) -> None:
    """Read a server's output until a line has a text, and on, so that it is never blocked.

    Raises RuntimeError, with what it said last, if it ends before or takes too long.
    """
    started = threading.Event()
    said: list[str] = []

    def listen() -> None:
        # Closed by who reads it: the server may end, or be killed, in the middle of a line.
        with server.stdout as lines:
            for line in lines:
                if not started.is_set():
                    said.append(line)
                if text in line:
                    started.set()
        started.set()

    threading.Thread(target=listen, daemon=True).start()
    if not started.wait(START_SECONDS) or not said or text not in said[-1]:
        raise RuntimeError(f"{name} did not start:\n{''.join(said[-40:])}")
