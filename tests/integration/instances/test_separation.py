"""Where the service is root, its functions run as users of their own, who find no secret."""

import asyncio
import json
import os
import re
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

import spying

from eventmesh.instances.users import FIRST, LAST, list_closed

NEEDED = ("eventmesh", "awslambdaric", "h11")


def find_interpreter():
    """Return a Python of this version that every user may read; None if there is none."""
    name = f"python3.{sys.version_info.minor}"
    for folder in ("/usr/bin", "/usr/local/bin", str(Path(sys.executable).parent)):
        found = shutil.which(name, path=folder)
        if found is not None and not list(list_closed(found)):
            return found
    return None


def copy_packages(folder):
    """Copy the package, and all that it needs, to where every user may read it."""
    wanted, seen = [*NEEDED], set()
    for name in wanted:  # The list grows while it is read.
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        wanted += [
            re.match(r"[\w.-]+", each)[0]
            for each in found.requires or ()
            if ";" not in each or "implementation_name" in each
        ]
        for file in found.files or ():
            if file.parts[0] != ".." and file.suffix != ".pth":
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), target)
    package = Path(sys.modules["eventmesh"].__file__).parent
    shutil.copytree(package, folder / "eventmesh", ignore=shutil.ignore_patterns("__pycache__"))


async def test_an_instance_finds_no_secret(open_folder):
    interpreter = find_interpreter()
    packages, work = open_folder / "packages", open_folder / "work"
    work.mkdir(mode=0o755)
    packages.mkdir(mode=0o755)
    copy_packages(packages)
    program = Path(shutil.copy(spying.__file__, open_folder))
    process = await asyncio.create_subprocess_exec(
        *(interpreter or sys.executable, str(program), str(work)),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(packages),
            "EVENTMESH_BROKER_PASSWORD": spying.SECRETS[0].decode(),
        },
        cwd=work,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(300):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    told = json.loads(out)
    spy = told["spy"]
    if os.geteuid() != 0:  # As its service: what that holds itself is closed all the same.
        assert spying.SECRETS[0].decode() not in spy["environments"]
        return
    if interpreter is None:  # Root may read everything, and is told that this is so.
        assert b"runs as root, as its service does" in errors
        return
    assert told["there"] == [True, True]
    assert FIRST <= spy["user"] <= LAST
    assert FIRST <= told["victim"] <= LAST
    assert spy["user"] != told["victim"]
    assert spy["environments"] == []
    assert (spy["file"], spy["memory"], spy["signals"]) == ("", [], [])
