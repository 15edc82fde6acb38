"""A service with a function that looks for what others hold: `python spying.py FOLDER`.

It prints what the function found, as JSON. It is run as root by a Python that all may read.
"""

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from eventmesh import Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.instances import lifecycle
from eventmesh.model.settings import Settings

SECRETS = (b"secret-of-the-service", b"secret-of-a-function")
VICTIM = """\
import os

def handler(event, context):
    return {"pid": os.getpid(), "user": os.getuid()}
"""

app = Service("spying")


def _read(file):
    with suppress(OSError):
        return Path(file).read_bytes()
    return b""


def _may_signal(pid):
    with suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def _may_open_memory(pid):
    with suppress(OSError), Path(f"/proc/{pid}/mem").open("rb"):
        return True
    return False


@app.function(isolation="process", instances=1, timeout=120)
def spy(folder: str, service: int, victim: int) -> dict[str, object]:
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    others = [pid for pid in pids if pid != os.getpid()]
    return {
        "user": os.getuid(),
        "environments": [
            secret.decode()
            for pid in others
            for secret in SECRETS
            if secret in _read(f"/proc/{pid}/environ")
        ],
        "file": _read(f"{folder}/password").decode(),
        "memory": [pid for pid in (service, victim) if _may_open_memory(pid)],
        "signals": [pid for pid in (service, victim) if _may_signal(pid)],
    }


def prepare(folder):
    """Declare the victim, and put a password beside it."""
    code = Path(folder, "victim")
    code.mkdir()
    (code / "app.py").write_text(VICTIM)
    password = Path(folder, "password")
    password.write_text("secret in a file")
    password.chmod(0o600)
    app.lambda_function(
        "victim",
        code=code,
        handler="app.handler",
        runtime="python3",
        environment={"TOKEN": SECRETS[1].decode(), "PYTHONPATH": os.environ["PYTHONPATH"]},
        timeout=120,
    )


async def main(folder):
    async with (
        MemoryBroker() as broker,
        host_services([app], broker, Settings(http_port=0), http=None) as host,
    ):
        victim = await host.caller.invoke("spying.victim", {}, timeout=120)
        # It is root: what is there to be found can be found.
        environments = [_read(f"/proc/{pid}/environ") for pid in (os.getpid(), victim["pid"])]
        asked = {"folder": folder, "service": os.getpid(), "victim": victim["pid"]}
        found = await host.caller.invoke("spying.spy", asked, timeout=120)
    there = [
        secret in environment for secret, environment in zip(SECRETS, environments, strict=True)
    ]
    print(json.dumps({"victim": victim["user"], "there": there, "spy": found}))


if __name__ == "__main__":
    os.umask(0o022)
    lifecycle.INIT_TIMEOUT = 120.0  # The machine may be busy.
    prepare(sys.argv[1])
    asyncio.run(main(sys.argv[1]))
