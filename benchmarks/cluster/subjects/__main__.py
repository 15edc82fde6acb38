"""One process of one subject: `python -m benchmarks.cluster.subjects NAME ROLE URL`."""

from __future__ import annotations

import sys
from importlib import import_module

name, role, url = sys.argv[1:]
getattr(import_module(f"benchmarks.cluster.subjects.{name}"), role)(url)
