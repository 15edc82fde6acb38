"""PostgreSQL servers that belong to the tests: started, shared, frozen and killed by them.

`new_server()` makes one from what the machine has: the installed program, run under a port and a
folder of its own, or a container. Nothing a server starts outlives the tests, even if those are
killed.
"""

import shutil
from pathlib import Path

import packages

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

ADVICE = (
    "there is no PostgreSQL to test with: install one (on Debian: apt-get install postgresql), or "
    "Docker, or say in EVENTMESH_TEST_POSTGRES where one is"
)


def new_server() -> PrivateServer:
    """Make a server, which is not started yet."""
    found = find_or_install()
    return InstalledServer(found) if isinstance(found, Path) else ContainerServer(found)


def find_or_install() -> Path | str:
    """Return the folder of the programs that are installed, or the image that there is."""
    return packages.find_or_install(installed_programs, "postgresql", ADVICE, image=IMAGE)


def installed_programs() -> Path | None:
    """Return the folder that has `postgres` and `initdb`: of the newest version on Debian."""
    versions = PROGRAMS.iterdir() if PROGRAMS.is_dir() else ()
    newest = sorted(versions, key=lambda folder: (len(folder.name), folder.name), reverse=True)
    folders = [folder / "bin" for folder in newest]
    if found := shutil.which("postgres"):
        folders.append(Path(found).resolve().parent)
    needed = ("postgres", "initdb")
    return next((one for one in folders if all((one / name).exists() for name in needed)), None)
