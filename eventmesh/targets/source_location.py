"""Where in the user's own code something went wrong."""

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
    """A line of code. `column` counts from 1, and is 0 where the whole line is meant."""

    file: str
    number: int
    source: str
    column: int = 0

    def __str__(self) -> str:
        """The place, and under it the source."""
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
    """The line of the deepest frame in the user's own code, of the error or of what caused it."""
    for cause in _causes(error):
        if isinstance(cause, SyntaxError) and cause.filename and cause.lineno:
            return SourceLine(cause.filename, cause.lineno, cause.text or "", cause.offset or 0)
        for frame in reversed(traceback.extract_tb(cause.__traceback__)):
            if is_user_file(Path(frame.filename)) and frame.lineno is not None:
                return SourceLine(frame.filename, frame.lineno, frame.line or "")
    return None


def is_user_file(file: Path) -> bool:
    """Whether a file is the user's own: not Python's, not eventmesh's, in no installed package."""
    # Some modules give names that are no files, such as "<string>" or that of their Cython source.
    if not file.is_file():
        return False
    return not any(file.resolve().is_relative_to(library) for library in _LIBRARIES)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, the root first."""
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)
    yield error


def shorten_path(file: str) -> str:
    """The path as it is seen from the current folder, if it lies below."""
    path = Path(file).absolute()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
