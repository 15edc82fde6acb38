"""Tests in several processes: what happens when one of these dies."""

import asyncio
import sys
from pathlib import Path

SUPPORT = Path(__file__).parents[2] / "support"

DYING = """
import os
import signal
import pytest

@pytest.mark.parametrize("number", range(4))
def test_of_one_unit(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""

OTHERS = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_a_unit_of_its_own(number):
    pass
"""


async def test_a_worker_that_dies_fails_one_test_and_the_others_run(tmp_path, soon):
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -p no:asyncio\n")
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_dying.py").write_text(DYING)
    (tmp_path / "tests" / "test_others.py").write_text(OTHERS)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "parallel", "-n", "2", "--dist", "load"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(SUPPORT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await soon(process.communicate())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"crashed while running 'tests/unit/test_dying.py::test_of_one_unit[1]'" in printed
    assert b"1 failed, 7 passed" in printed
