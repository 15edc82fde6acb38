"""Start-up and memory of a worker process of the launcher that has nothing to do."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time

from benchmarks.memory import resident
from benchmarks.processes import ROOT, SECONDS, Figures, LeftOut
from benchmarks.scenario import Bench, Scenario

READY = re.compile(r"\(process (\d+)\) is ready")


def start(bench: Bench, target: str) -> Figures:
    """From the command to the worker's being ready, and what is resident in memory then."""
    command = [sys.executable, "-m", "eventmesh", "run", target, "--broker", bench.url]
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, "--port", "0", "--admin-port", "0"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as launcher:
        assert launcher.stderr is not None
        too_long = threading.Timer(SECONDS, launcher.kill)
        too_long.start()
        try:
            for line in launcher.stderr:
                if found := READY.search(line):
                    return {"start": time.perf_counter() - started, "rss": resident(found[1])}
            raise LeftOut("the launcher ended before its worker was ready")
        finally:
            too_long.cancel()
            launcher.terminate()
            launcher.stderr.read()


SCENARIO = Scenario(
    "eventmesh run: an idle worker",
    {
        "benchmarks.idle": "one function",
        "examples/hello_http.py": "the README's service, with HTTP",
    },
    {"start": "start, s", "rss": "memory, MB"},
    start,
    frozenset({"start", "rss"}),
)
