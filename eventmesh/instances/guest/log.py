"""Log records of an instance: a line of JSON each, on a pipe that its service reads.

They are written at once, and not by the event loop: what a handler logs before it is killed is
seen.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import orjson

from eventmesh.engine.codecs.json import truncate_middle
from eventmesh.model.invocation import Invocation

MAX_TEXT: Final = 16 * 1024
"""Characters of a message, and of a traceback."""

current_invocation: Final[ContextVar[Invocation | None]] = ContextVar(
    "eventmesh_instance_invocation", default=None
)


@contextmanager
def log_to(descriptor: int, level: int) -> Generator[None]:
    """Write the records of all loggers to a pipe, and to nothing else."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.setLevel(level)
    root.addHandler(_PipeHandler(descriptor))
    logging.captureWarnings(capture=True)
    yield
    logging.shutdown()


class _PipeHandler(logging.Handler):
    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._dump(record) + b"\n"
            while line:
                line = line[os.write(self._descriptor, line) :]
        except Exception:  # noqa: BLE001 as every handler of logging does
            self.handleError(record)

    def _dump(self, record: logging.LogRecord) -> bytes:
        fields: dict[str, Any] = {
            "level": record.levelno,
            "logger": record.name,
            "message": truncate_middle(record.getMessage(), MAX_TEXT),
        }
        if record.exc_info:
            text = self._formatter.formatException(record.exc_info)
            fields["exception"] = truncate_middle(text, MAX_TEXT)
        invocation = current_invocation.get()
        if invocation is not None:
            fields["invocation"] = invocation.id
        return orjson.dumps(fields)
