"""Processes that are forked from one that has loaded their modules, and so start at once."""

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from unittest.mock import patch


def forked_with(*modules):
    """Return the context of processes that have these modules loaded when they start.

    Those of the first call count for all of a test run's process: there is one fork server.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    # Python 3.11 tells the server where to find them, which does not look there.
    with patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}):
        forkserver.ensure_running()
    return context
