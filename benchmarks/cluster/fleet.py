"""The processes of one subject: workers and a client, started again when they end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from typing import Final

from benchmarks.cluster.subjects import Subject
from benchmarks.cluster.tally import Tally, parse
from benchmarks.processes import ROOT

WORKERS: Final = 2
AGAIN_SECONDS: Final = 1.0
"""A supervisor starts a process again after so long."""


class Fleet:
    """One subject's processes, and what they tell."""

    def __init__(self, name: str, subject: Subject, url: str) -> None:
        self.subject = subject
        self.ended: Counter[str] = Counter()
        self.tallies = {kind: Tally() for kind in subject.kinds}
        self._name = name
        self._url = url
        self._running: dict[str, list[asyncio.subprocess.Process]] = {"work": [], "call": []}
        self._stopped: set[str] = set()

    def start(self, tasks: asyncio.TaskGroup) -> None:
        for role in ("work",) * WORKERS + ("call",):
            tasks.create_task(self._keep(role))

    def count_anew(self) -> None:
        """Forget what was told until now."""
        self.tallies = {kind: Tally() for kind in self.subject.kinds}

    def stop(self, *roles: str) -> None:
        """Kill the processes of some roles, and start them no more."""
        for role in roles:
            self._stopped.add(role)
            for process in self._running[role]:
                if process.returncode is None:
                    process.kill()

    async def _keep(self, role: str) -> None:
        while role not in self._stopped:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "benchmarks.cluster.subjects", self._name, role, self._url),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if "DEBUG_PEERS" in os.environ else asyncio.subprocess.DEVNULL,
            )
            self._running[role].append(process)
            await self._read(process)
            await process.wait()
            self._running[role].remove(process)
            if role not in self._stopped:
                self.ended[role] += 1
                await asyncio.sleep(AGAIN_SECONDS)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if told := parse(line.decode(errors="replace")):
                what, kind, number, reason = told
                self.tallies[kind].add(what, number, reason)
