import socket
import subprocess
import sys

FORKING = """
import os, sys
from eventmesh.processes.supervisor_channel import SupervisorChannel

channel = SupervisorChannel(int(sys.argv[1]))
if os.fork() == 0:
    sys.stdin.read()
"""


def test_a_forked_child_does_not_keep_the_supervisor_listening():
    ours, its = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-c", FORKING, str(its.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[its.fileno()],
        ) as worker,
    ):
        its.close()
        assert worker.wait(60) == 0
        ours.settimeout(60)
        # The child is still there: it reads until we leave.
        assert ours.recv(1) == b""
