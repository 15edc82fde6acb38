"""The extensions that an instance starts itself, and what their first process tells of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import orjson

from eventmesh.instances.zygote.sidecars import START
from eventmesh.lambdas.function import LambdaFunction
from eventmesh.model.errors import DeclarationError

_MAX_LINE: Final = 4 * 1024


def list_extensions(function: LambdaFunction) -> list[str]:
    """Return the programs in the folders `extensions` of the code and of its layers.

    Their names are those under which they register. Raises DeclarationError for two of one name.
    """
    found: dict[str, str] = {}
    for folder in (function.code, *function.layers):
        for file in sorted(_list_programs(folder / "extensions")):
            if file.name in found:
                raise DeclarationError(
                    f"{function.full_name}: both {found[file.name]} and {file} are extensions of "
                    "that name: rename one"
                )
            found[file.name] = str(file)
    return list(found.values())


def _list_programs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [file for file in folder.iterdir() if file.is_file() and os.access(file, os.X_OK)]


class Control(asyncio.Protocol):
    """The socket of the first process of an instance with extensions."""

    def __init__(self, on_end: Callable[[int, int], object]) -> None:
        """`on_end` gets the number of what has ended, and its exit status or negative signal."""
        self._on_end = on_end
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # The process has ended, which is told by itself.
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        try:
            for line in lines:
                told: Any = orjson.loads(line)
                self._on_end(int(told["ended"]), int(told["code"]))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            self.close()  # Code in the instance has taken over its first process.
        if len(rest) > _MAX_LINE:
            self.close()

    def start(self) -> None:
        """Have the runtime started."""
        if self._transport is not None:
            self._transport.write(START)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
