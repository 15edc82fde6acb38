"""Tests interrupt processes also where whoever runs them has SIGINT ignored."""

import signal
import subprocess
import sys
from pathlib import Path

import inherited_signals
import pytest

IGNORING = ("sh", "-c", 'trap "" INT QUIT HUP TERM; exec "$@"', "sh", sys.executable)

PARENT = """
import os, signal, subprocess, sys
from inherited_signals import restore_default_signals

restore_default_signals()
child = subprocess.run([sys.executable, "-c", sys.argv[1]])
os.kill(os.getpid(), signal.SIGINT)
print(child.returncode)
"""

CHILD = """
import os, signal

# Python's own handler is there only if the signal is not ignored.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
os.kill(os.getpid(), signal.{})
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM"])
def test_a_signal_ends_a_child_of_a_parent_that_ignores_it(name):
    done = subprocess.run(
        [*IGNORING, "-c", PARENT, CHILD.format(name)],
        env={"PYTHONPATH": str(Path(inherited_signals.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) == -signal.Signals[name]
