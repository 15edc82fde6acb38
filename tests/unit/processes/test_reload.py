"""Restarting a command when its code changes."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from eventmesh.processes.reload import _Reloader

WAITS = "import signal; signal.pause()"


class Between:
    def __init__(self):
        self.saved = []

    def note_saved(self, files, _):
        self.saved.append(files)

    @asynccontextmanager
    async def stand_in(self, _):
        yield


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "app.py"
    file.write_text("")
    return file


async def test_what_is_saved_while_the_first_process_starts_restarts_it(file, soon):
    between, started = Between(), []
    changed = file.with_name("changed")
    changed.write_text("changed = True\n")

    async def start():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", WAITS)
        started.append(process)
        if len(started) == 1:
            changed.replace(file)
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        return process

    reloader = _Reloader(start, 60.0, lambda _: None, between)
    await soon(reloader.run([file.parent]))
    assert len(started) == 2
    assert [[name.rpartition("/")[2] for name in files] for files in between.saved] == [["app.py"]]
