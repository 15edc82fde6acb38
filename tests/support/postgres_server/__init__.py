"""PostgreSQL servers that belong to the tests: started, shared, frozen and killed by them.

`new_server()` makes one from what the machine has: the installed program, run under a port and a
folder of its own, or a container. Nothing a server starts outlives the tests, even if those are
killed.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from machine import quiet, run

from postgres_server.container import ContainerServer
from postgres_server.installed import InstalledServer
from postgres_server.server import Databases, PrivateServer

__all__ = [
    "ContainerServer",
    "Databases",
    "InstalledServer",
    "PrivateServer",
    "find_or_install",
    "new_server",
]

IMAGE = "postgres:17"
PROGRAMS = Path("/usr/lib/postgresql")
"""Where Debian has those of each version, in no folder of the PATH."""


def new_server() -> PrivateServer:
    """Make a server, which is not started yet."""
    found = find_or_install()
    return InstalledServer(found) if isinstance(found, Path) else ContainerServer(found)


def find_or_install() -> Path | str:
    """Return the folder of the programs that are installed, or the image that there is."""
    # One at a time: all worker processes of the tests ask at once, and a package that is only half
    # installed has its programs already.
    with (Path(tempfile.gettempdir()) / "eventmesh-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs = installed_programs()
        if programs is not None:
            return programs
        if shutil.which("docker") and not subprocess.call(["docker", "info"], **quiet()):
            return IMAGE
        if os.geteuid() == 0 and shutil.which("apt-get"):
            install_package()
            if programs := installed_programs():
                return programs
    raise RuntimeError(
        "there is no PostgreSQL to test with: install one (on Debian: apt-get install "
        "postgresql), or Docker, or say in EVENTMESH_TEST_POSTGRES where one is"
    )


def installed_programs() -> Path | None:
    """Return the folder that has `postgres` and `initdb`: of the newest version on Debian."""
    versions = PROGRAMS.iterdir() if PROGRAMS.is_dir() else ()
    newest = sorted(versions, key=lambda folder: (len(folder.name), folder.name), reverse=True)
    folders = [folder / "bin" for folder in newest]
    if found := shutil.which("postgres"):
        folders.append(Path(found).resolve().parent)
    needed = ("postgres", "initdb")
    return next((one for one in folders if all((one / name).exists() for name in needed)), None)


def install_package() -> None:
    # As in single-user mode: the package would start a server of its own otherwise.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "update", "-qq"], environment, 600)
    run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql"],
        environment,
        600,
    )
