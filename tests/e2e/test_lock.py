"""An image takes the files that its lock has the hashes of, and no others.

That it is built from those is what the shop shows: the clone has a lock.
"""

import sys
from importlib.metadata import version

import pytest
from composed import Failed, run


async def test_a_file_with_another_hash_ends_the_build(tmp_path):
    eventmesh = (sys.executable, "-m", "eventmesh")
    await run(*eventmesh, "new", "hello", cwd=tmp_path)
    lock = tmp_path / "hello" / "requirements.lock"
    lock.write_text(f"idna=={version('idna')} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(Failed, match="DO NOT MATCH THE HASHES"):
        await run(*eventmesh, "build", "hello", cwd=tmp_path)
