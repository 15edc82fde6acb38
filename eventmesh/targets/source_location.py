"""Locates errors in the user's own code."""

from __future__ import annotations

import site
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eventmesh.model.value import value

_INSTALLED: Final = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")),
    *site.getsitepackages(),
    site.getusersitepackages(),
)
_LIBRARIES: Final = [*(Path(folder).resolve() for folder in _INSTALLED), Path(__file__).parents[1]]


@value
class SourceLine:
    """A line of code. `column` counts from 1; 0 means the whole line."""

    file: str
    number: int
    source: str
    column: int = 0

    def __str__(self) -> str:
        """Format the location, and the source below it."""
        shown = f"{shorten_path(self.file)}:{self.number}"
        source = self.source.strip()
        if not source:
            return shown
        shown += f"\n  {source}"
        if self.column:
            indent = len(self.source) - len(self.source.lstrip())
            shown += f"\n  {' ' * (self.column - 1 - indent)}^"
        return shown


def find_user_line(error: BaseException) -> SourceLine | None:
    """Return the line of the deepest frame in the user's code, of the error or its cause."""
    for cause in _causes(error):
        if isinstance(cause, SyntaxError) and cause.filename and cause.lineno:
            return SourceLine(cause.filename, cause.lineno, cause.text or "", cause.offset or 0)
        for frame in reversed(traceback.extract_tb(cause.__traceback__)):
            if is_user_file(Path(frame.filename)) and frame.lineno is not None:
                return SourceLine(frame.filename, frame.lineno, frame.line or "")
    return None


def format_user_traceback(error: BaseException) -> str:
    """Format the way to an error and its causes, the root cause first, as far as it is user code.

    Empty if no line of the way is.
    """
    return "\n\n".join(part for cause in _causes(error) if (part := _format_way(cause)))


def _format_way(error: BaseException) -> str:
    """Format the user's lines on the way to one error, and the error; empty without a line."""
    lines = [
        f"{SourceLine(frame.filename, frame.lineno or 0, '')}, in {frame.name}"
        + (f"\n  {frame.line}" if frame.line else "")
        for frame in traceback.extract_tb(error.__traceback__)
        if is_user_file(Path(frame.filename))
    ]
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        wrong = SourceLine(error.filename, error.lineno, error.text or "", error.offset or 0)
        lines.append(str(wrong))
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return "\n".join([*lines, f"{type(error).__name__}: {said}"]) if lines else ""


def is_user_file(file: Path) -> bool:
    """Return whether a file is the user's own: not of Python, eventmesh or an installed package."""
    # Some names are not files, such as "<string>" or the Cython source of a module.
    if not file.is_file():
        return False
    return not any(file.resolve().is_relative_to(library) for library in _LIBRARIES)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, the root cause first."""
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)
    yield error


def shorten_path(file: str) -> str:
    """Return the path relative to the current folder, if it lies below it."""
    path = Path(file).absolute()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
