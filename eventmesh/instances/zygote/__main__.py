"""The zygote as a program: its arguments are the descriptor of its socket, and its parent."""

from __future__ import annotations

import socket
import sys

from eventmesh.engine.runtimes.registry import INLINE, THREAD, load_runtime
from eventmesh.instances.zygote.setup import adopt_orphans, end_with_parent, set_dumpable
from eventmesh.instances.zygote.zygote import Zygote


def main() -> None:
    """Serve the socket until the service closes it."""
    control = socket.socket(fileno=int(sys.argv[1]))
    # Nothing that code of the user's starts may hold the socket: the service sees its end then.
    control.set_inheritable(False)
    set_dumpable(dumpable=False)
    for runtime in (INLINE, THREAD):
        load_runtime(runtime)  # An instance finds it imported.
    adopt_orphans()
    end_with_parent(int(sys.argv[2]))
    Zygote(control).run()


if __name__ == "__main__":
    main()
