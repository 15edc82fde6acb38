"""A stack: a process of eventmesh that has the functions of a template, and what they log."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from template import SERVICE, read_template

HERE = Path(__file__).parent
START_SECONDS = 90
WORKERS = 2
"""Processes of the service: an execution goes on in whichever takes its next turn."""

STOP_SECONDS = 40
LOGGER = f"eventmesh.function.{SERVICE}."


class Stack:
    """Runs the functions of a template, and serves the Lambda API for them at `port`.

    `environment` names the store and the broker, and `folder` is for its log.
    """

    def __init__(self, name, template, parameters, folder, environment, port):
        self.functions = read_template(template, parameters)
        self._port = port
        description = folder / f"{name}.json"
        description.write_text(json.dumps({"template": template, "parameters": parameters}))
        self._log = (folder / f"{name}.log").open("w")
        self._environment = environment | {"CONFORMANCE_STACK": str(description)}
        self._events = defaultdict(list)
        self._starting = WORKERS
        self._ready = threading.Event()
        self._process = None

    def start(self):
        """Start it, and wait until it is ready."""
        command = (sys.executable, "-P", "-m", "eventmesh", "run", str(HERE / "deployed.py"))
        ports = ("--port", str(self._port), "--admin-port", "0")
        options = ("--workers", str(WORKERS), "--log-format", "json", *ports)
        self._process = subprocess.Popen(
            (*command, *options),
            env=self._environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(START_SECONDS) or self._process.poll() is not None:
            raise RuntimeError(f"the service did not start: see {self._log.name}")

    def stop(self):
        """End it with all of its processes."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def events(self, function, start):
        """Return what a function logged since then, in milliseconds since the epoch."""
        return [event for event in list(self._events[function]) if event["timestamp"] >= start]

    def _read(self):
        for line in self._process.stderr:
            self._log.write(line)
            self._log.flush()
            try:
                record = json.loads(line)
            except ValueError:
                continue  # It is of an interpreter, and nobody waits for it.
            self._take(record)
        self._ready.set()

    def _take(self, record):
        message = record["message"]
        if record["logger"].startswith(LOGGER):
            moment = datetime.fromisoformat(record["timestamp"]).timestamp()
            times = {"timestamp": round(moment * 1000), "ingestionTime": round(time.time() * 1000)}
            self._events[record["logger"].removeprefix(LOGGER)].append(times | {"message": message})
        elif " is ready at " in message:
            self._starting -= 1
            if not self._starting:
                self._ready.set()
