"""A machine that stood still while the tests ran is told of in their report."""

import sys

pytest_plugins = ["pytester"]

PROGRAM = """
import sys; sys.path.insert(0, {support!r})
import pytest, standstills
standstills.LATE = 0.2
pytest.main(["-n1", "-p", "standstills", "-p", "no:asyncio"])
"""

STOPS_ALL = """
import os, signal, time

def test_that_stops_who_controls_it():
    parent = os.getppid()
    os.kill(parent, signal.SIGSTOP)
    time.sleep(1)
    os.kill(parent, signal.SIGCONT)
"""


def test_a_standstill_is_reported(pytester, request):
    pytester.makepyfile(STOPS_ALL)
    support = str(request.config.rootpath / "tests/support")
    result = pytester.run(sys.executable, "-c", PROGRAM.format(support=support), timeout=60)
    result.stdout.fnmatch_lines(["the machine stood still for * s until *:*:* UTC"])
    result.assert_outcomes(passed=1)
