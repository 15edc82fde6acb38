"""Links between addresses of this machine, which can be cut as a cable is: silently."""

import os
import shutil
import subprocess
from uuid import uuid4

from machine import run

# Ends when the tests do, also when those are killed, and leaves no rule behind.
SCRIPT = (
    'read -r end; while iptables -w -D INPUT -j "$0" 2>&-; do :; done; '
    'iptables -w -F "$0"; iptables -w -X "$0"'
)


def can_filter() -> bool:
    """Whether this process may say which packets the kernel drops."""
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        return False
    return not subprocess.call(
        ["iptables", "-w", "-n", "-L", "INPUT"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Links:
    """Rules of the kernel's packet filter, in a chain of their own.

    What is cut loses every packet and no connection: who talks over it finds out by its own
    time-outs.
    """

    def __init__(self) -> None:
        self._chain = f"em-{uuid4().hex[:12]}"
        _iptables("-N", self._chain)
        # In a group of its own: an interrupt from the keyboard ends the tests, which end it.
        self._cleaner = subprocess.Popen(
            ["sh", "-c", SCRIPT, self._chain], stdin=subprocess.PIPE, start_new_session=True
        )
        _iptables("-I", "INPUT", "-j", self._chain)

    def cut(self, one: str, other: str) -> None:
        """Drop what two addresses send each other."""
        for source, target in ((one, other), (other, one)):
            _iptables("-A", self._chain, "-s", source, "-d", target, "-j", "DROP")

    def heal(self) -> None:
        """Let everything through again."""
        _iptables("-F", self._chain)

    def close(self) -> None:
        """Remove the chain."""
        self._cleaner.communicate(timeout=60)


def _iptables(*arguments: str) -> None:
    run(["iptables", "-w", *arguments], dict(os.environ))
