"""A pgbouncer of the tests: it ends with them."""

import asyncio
import os
import sys
from pathlib import Path

from machine import is_free

OWNER = """
import sys
from pgbouncer import Pgbouncer
pooler = Pgbouncer("postgresql://user:password@127.0.0.1:1/postgres")
pooler.launch()
print(pooler.port, pooler._folder, flush=True)
sys.stdin.read()
"""


async def test_ends_with_the_tests_that_started_it(soon, until):
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    port, folder = (await soon(owner.stdout.readline())).decode().split()
    assert not is_free(int(port))

    owner.kill()
    await soon(owner.communicate())

    await until(lambda: is_free(int(port)) and not Path(folder).exists())
