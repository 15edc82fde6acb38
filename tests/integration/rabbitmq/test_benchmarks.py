"""The benchmarks run: what they print is theirs, not the tests'."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# Nobody but us is needed to show that the harness works, and the other peers' libraries live in
# an environment of their own.
LEFT_OUT = ("faststream", "nameko", "celery", "dramatiq", "taskiq", "repid", "aiormq")


@pytest.fixture
def benchmark(rabbitmq_url, tmp_path):
    async def run(*groups):
        file = tmp_path / "figures.json"
        without = [f"--without={name}" for name in LEFT_OUT]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks", *groups, "--quick", "--rounds", "1", f"--json={file}", *without),
            cwd=ROOT,
            # No container is started for a peer that is left out.
            env=os.environ | {"EVENTMESH_BENCH_BROKER": rabbitmq_url, "EVENTMESH_BENCH_AMQP1": "-"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(240):
            printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()
        return json.loads(file.read_text())["scenarios"]

    return run


@pytest.mark.parametrize("group", ["consume", "request"])
async def test_measures_what_is_there_and_names_what_is_not(benchmark, group):
    measured = (await benchmark(group))[group]

    assert {"eventmesh", "aio_pika", "bare"} <= measured["figures"].keys()
    for figures in measured["figures"].values():
        assert all(figure > 0 for rounds in figures.values() for figure in rounds.values())
    assert measured["not measured"].keys() <= set(LEFT_OUT)
