"""`python -m eventmesh` is the command `eventmesh`."""

from __future__ import annotations

from eventmesh.cli import main

main()
