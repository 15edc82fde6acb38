"""What pip would install in the image that this runs in, with the hashes of the files.

Only its text is used: `eventmesh build --lock` runs it in the base image, with that Python and pip,
and nothing but the standard library. It reads a request as JSON from standard input and prints the
lines of a requirements file.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

_GLIBC_FROM: Final = 5
"""The minor version of glibc 2 that the oldest wheels for Linux need (PEP 600)."""

_OLDER_NAMES: Final = ("manylinux1", "manylinux2010", "manylinux2014")
_MUSL: Final = ("musllinux_1_1", "musllinux_1_2")


def platforms(machine: str) -> list[str]:
    """Return the tags of wheels that run in this image, on that kind of machine."""
    library, version = platform.libc_ver()
    if library != "glibc":
        return [f"{each}_{machine}" for each in _MUSL]
    minors = range(int(version.split(".")[1]), _GLIBC_FROM - 1, -1)
    names = [*(f"manylinux_2_{minor}" for minor in minors), *reversed(_OLDER_NAMES)]
    return [f"{name}_{machine}" for name in names]


def resolve(folder: Path, arguments: list[str], machine: str) -> dict[str, str]:
    """Return the requirements that pip would install, and the hash of each file.

    Raises RuntimeError with pip's last words.
    """
    report = folder / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--target", str(folder)]
    command += ["--report", str(report), *arguments]
    for tag in platforms(machine):
        command += ["--platform", tag]
    ended = subprocess.run(  # noqa: S603 - pip, no shell
        command, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(ended.stderr.strip())
    found: dict[str, str] = {}
    for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
        if item.get("is_direct"):  # eventmesh itself
            continue
        requirement = f"{item['metadata']['name'].lower()}=={item['metadata']['version']}"
        found[requirement] = item["download_info"]["archive_info"]["hashes"]["sha256"]
    return found


def main() -> int:
    """Answer the request; return the exit code."""
    given: dict[str, Any] = json.load(sys.stdin)
    hashes: dict[str, set[str]] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        wheel = folder / given["wheel"]
        wheel.write_bytes(b64decode(given["content"]))
        (folder / "constraints.txt").write_text(given["constraints"], encoding="utf-8")
        requirements = [f"{wheel}{given['extras']}", *given["requirements"]]
        (folder / "requirements.txt").write_text("\n".join(requirements), encoding="utf-8")
        arguments = ["-r", str(folder / "requirements.txt"), "-c", str(folder / "constraints.txt")]
        for machine in given["machines"]:
            try:
                found = resolve(folder, arguments, machine)
            except RuntimeError as error:
                sys.stderr.write(f"for {machine} pip says:\n{error}\n")
                return 1
            for requirement, sha256 in found.items():
                hashes.setdefault(requirement, set()).add(sha256)
    for requirement in sorted(hashes):
        listed = [f"--hash=sha256:{each}" for each in sorted(hashes[requirement])]
        sys.stdout.write(" \\\n    ".join([requirement, *listed]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
