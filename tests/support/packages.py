"""Programs that tests need beside Python: found on the machine, or installed there."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from machine import quiet, run

INSTALL_SECONDS = 600


def find_or_install(
    find: Callable[[], Path | None], package: str, advice: str, *, image: str = ""
) -> Path | str:
    """Return what `find` does, or an image's name where there is Docker for it.

    Where there is neither, and the tests are root, Debian's package is installed. Raises
    RuntimeError with the advice where that cannot be.
    """
    # One at a time: all worker processes of the tests ask at once, and a package that is only half
    # installed has its programs already. Other packages too: apt-get does not wait for another one.
    with (Path(tempfile.gettempdir()) / "eventmesh-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = find()
        if found is not None:
            return found
        if image and shutil.which("docker") and not subprocess.call(["docker", "info"], **quiet()):
            return image
        if os.geteuid() == 0 and shutil.which("apt-get"):
            _install(package)
            if found := find():
                return found
    raise RuntimeError(advice)


def _install(package: str) -> None:
    # As in single-user mode: the package would start a server of its own otherwise.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "update", "-qq"], environment, INSTALL_SECONDS)
    run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
        environment,
        INSTALL_SECONDS,
    )
