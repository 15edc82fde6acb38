"""Ports and programs of the machine that the tests run on."""

import random
import socket
import subprocess

CALL_SECONDS = 60


def free_ports(count: int) -> list[int]:
    """Ports that are free, and that no outgoing connection takes while a node is down."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
    return ports


def run(command: list[str], environment: dict[str, str], timeout: float = CALL_SECONDS) -> str:
    done = subprocess.run(
        command, env=environment, timeout=timeout, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def quiet() -> dict[str, int]:
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
