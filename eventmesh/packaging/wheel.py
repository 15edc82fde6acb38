"""Builds a wheel of the running eventmesh, which images install without a package index."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackagePath, distribution
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

_PACKAGE: Final = Path(__file__).parents[1]

_WHEEL: Final = (
    "Wheel-Version: 1.0\nGenerator: eventmesh\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
)


def write_wheel(folder: Path) -> Path:
    """Write the wheel to a folder, remove older ones there, and return its path.

    It is built from the installed package, editable or not. The same files give the same bytes, so
    that a cached build stays valid. The format is that of
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/.
    """
    stem = f"eventmesh-{distribution('eventmesh').version}"
    contents = _contents(f"{stem}.dist-info")
    folder.mkdir(parents=True, exist_ok=True)
    for older in folder.glob("eventmesh-*.whl"):
        older.unlink()
    wheel = folder / f"{stem}-py3-none-any.whl"
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = ZipInfo(name)  # Dated 1980, whenever it is built.
            entry.compress_type = ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return wheel


def _contents(info: str) -> Mapping[str, bytes]:
    """Return all files of the wheel by name, the record of them last."""
    contents = {
        file.relative_to(_PACKAGE.parent).as_posix(): file.read_bytes()
        for file in sorted(_PACKAGE.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    for file in sorted(distribution("eventmesh").files or []):
        if _is_kept(file):
            contents[f"{info}/{file.relative_to(file.parts[0]).as_posix()}"] = file.read_binary()
    contents[f"{info}/WHEEL"] = _WHEEL.encode()
    contents[f"{info}/RECORD"] = _record(contents, info)
    return contents


def _is_kept(file: PackagePath) -> bool:
    """Return whether a file describes the package, and not this installation of it."""
    is_info = file.parts[0].endswith(".dist-info")
    return is_info and (file.name in ("METADATA", "entry_points.txt") or "licenses" in file.parts)


def _record(contents: Mapping[str, bytes], info: str) -> bytes:
    lines = [
        f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in contents.items()
    ]
    return "".join([*lines, f"{info}/RECORD,,\n"]).encode()


def _digest(content: bytes) -> str:
    return urlsafe_b64encode(sha256(content).digest()).decode().rstrip("=")
