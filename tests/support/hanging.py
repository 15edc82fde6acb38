"""Fails a test that hangs, says where its tasks wait, and lets the run go on.

A test's set-up, its body and its teardown have a share each of `faulthandler_timeout`. What hangs
longer, because it holds the interpreter, is left to pytest's faulthandler, which ends the process.
"""

import asyncio
import io
import signal
import sys
from contextlib import contextmanager

import pytest

SHARE = 0.3


class Hangs(BaseException):
    """A part of a test did not end in time; nothing that catches errors catches it."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    with limited(_seconds(item.config)):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    with limited(_seconds(item.config)):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    with limited(_seconds(item.config)):
        return (yield)


@contextmanager
def limited(seconds):
    """Raise Hangs in the main thread, which runs this, if the block takes longer."""

    def end(_signal, frame):
        # Apart from the message, which pytest repeats in its summary.
        print(_stacks(frame), file=sys.stderr)
        raise Hangs(f"It took {seconds:g} s; where its tasks wait is in the captured stderr")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stacks(frame):
    """Return the stacks of all tasks of the event loop that a frame runs, if it runs one."""
    text = io.StringIO()
    while frame is not None:
        loop = frame.f_locals.get("self")
        if isinstance(loop, asyncio.AbstractEventLoop):
            for task in asyncio.all_tasks(loop):
                task.print_stack(file=text)
            break
        frame = frame.f_back
    return text.getvalue() or "(no event loop runs)"


def _seconds(config):
    return SHARE * float(config.getini("faulthandler_timeout"))
