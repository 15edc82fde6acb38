"""What the processes of the tests inherit from whoever runs them.

A shell starts a job in the background with SIGINT ignored, and some CI systems do so with every
job. An ignored signal stays ignored in all programs that are executed from there on (exec(3p)),
and then the tests that interrupt a process would wait in vain.
"""

import signal

INTERRUPTING = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)


def restore_default_signals() -> None:
    """Have programs that are executed from now on get the default actions of signals.

    This process itself goes on ignoring what it ignored: a handler that does nothing is not
    inherited.
    """
    for number in INTERRUPTING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_configure():
    restore_default_signals()
