"""Says when the machine stood still during the tests: nothing on it kept a time limit then."""

import threading
import time
from datetime import UTC, datetime

import pytest

BEAT = 0.5
LATE = 5.0
"""Seconds by which the next beat is late when the machine counts as having stood still."""

_watch = pytest.StashKey["Watch"]()


class Watch(threading.Thread):
    """Beats, and notes the beats that were late."""

    def __init__(self):
        super().__init__(daemon=True)
        self.lines = []
        self._ended = threading.Event()

    def run(self):
        before = time.monotonic()
        while not self._ended.wait(BEAT):
            late, before = time.monotonic() - before - BEAT, time.monotonic()
            if late > LATE:
                at = datetime.now(UTC).strftime("%H:%M:%S")
                self.lines.append(f"the machine stood still for {late:.0f} s until {at} UTC")

    def end(self):
        self._ended.set()
        self.join()


def pytest_configure(config):
    """Watch from the process that controls the others: no test runs in it."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        config.stash[_watch] = Watch()
        config.stash[_watch].start()


def pytest_terminal_summary(terminalreporter, config):
    if _watch in config.stash:
        for line in config.stash[_watch].lines:
            terminalreporter.write_line(line)


def pytest_unconfigure(config):
    if _watch in config.stash:
        config.stash[_watch].end()
