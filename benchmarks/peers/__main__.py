"""One role of one peer, in a process of its own: `python -m benchmarks.peers NAME ROLE JOB`."""

from __future__ import annotations

import sys
from importlib import import_module

from benchmarks.job import Job

name, role, job = sys.argv[1:]
getattr(import_module(f"benchmarks.peers.{name}"), role)(Job.load(job))
