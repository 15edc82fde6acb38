"""The processes of a benchmark: started, listened to with a deadline, and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Final

from benchmarks.job import MARK, Job

SECONDS: Final = 120.0
"""How long a process may take for what it was asked, before it counts as failed."""

ROOT: Final = Path(__file__).parent.parent

Figures = Mapping[str, float]


class LeftOut(Exception):
    """Something could not be measured, and why."""


class Ended(LeftOut):
    """A process ended before it reported."""


def next_report(reports: SimpleQueue[Figures | None]) -> Figures:
    """Wait for the next report of the processes that share this queue."""
    try:
        figures = reports.get(timeout=SECONDS)
    except Empty:
        raise LeftOut(f"said nothing for {SECONDS:.0f} s") from None
    if figures is None:
        raise Ended("a process ended before it reported")
    return figures


class Running:
    """A process and its reports."""

    def __init__(
        self, process: subprocess.Popen[str], log: IO[str], reports: SimpleQueue[Figures | None]
    ) -> None:
        self.process = process
        self._log = log
        self._reports = reports
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):
                self._reports.put(json.loads(line.removeprefix(MARK)))
        self._reports.put(None)

    def report(self) -> Figures:
        """Wait for the next report."""
        try:
            return next_report(self._reports)
        except Ended:
            raise LeftOut(self._last_words()) from None

    def figures(self) -> Figures:
        """Wait for the next report with figures in it: the others say that it is ready."""
        while not (figures := self.report()):
            pass
        return figures

    def finish(self) -> None:
        """Wait until it has ended, which is all that it was asked for."""
        try:
            code = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise LeftOut(f"did not end within {SECONDS:.0f} s") from None
        if code:
            raise LeftOut(self._last_words())

    def check(self) -> None:
        """LeftOut if it has ended."""
        if self.process.poll() is not None:
            raise LeftOut(self._last_words())

    def _last_words(self) -> str:
        self._log.seek(0)
        # A group of exceptions is drawn as a tree, which may end in nothing but a branch.
        said = [line for line in self._log.read().splitlines() if line.strip(" |+-")]
        return said[-1].strip(" |+-") if said else f"ended with code {self.process.wait(SECONDS)}"


@contextmanager
def running(
    *command: str,
    reports: SimpleQueue[Figures | None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Generator[Running]:
    """A Python process of this environment, which is killed in the end.

    Its reports go to `reports`, where several processes share one queue. `environ` are variables
    beside those that this process has.
    """
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        one = Running(process, log, reports or SimpleQueue())
        try:
            yield one
        finally:
            process.kill()
            one.listener.join()


def peer(name: str, role: str, job: Job) -> tuple[str, ...]:
    """The command of one role of a peer."""
    return ("-m", "benchmarks.peers", name, role, job.dump())


def measure(name: str, role: str, job: Job) -> Figures:
    """What one role of a peer reports."""
    with running(*peer(name, role, job)) as process:
        return process.figures()


def complete(name: str, role: str, job: Job) -> None:
    """Let one role of a peer do its work, which has no figures."""
    with running(*peer(name, role, job)) as process:
        process.finish()
