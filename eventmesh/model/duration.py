"""Durations as users write them: seconds, a `timedelta`, or a string such as "500ms" or "5m"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypeAlias

from eventmesh.model.errors import DeclarationError

Duration: TypeAlias = float | int | str | timedelta
"""Seconds as a number, a `timedelta`, or a string of a number and a unit: ms, s, m, h, d, w."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST = 100 * 365.25 * 86400.0
"""Seconds. A moment this far ahead is still a date: nothing that is added to now overflows."""

_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)")
_TEXT = re.compile(rf"(?:{_PART.pattern})+\s*")


def seconds(duration: Duration, what: str = "duration") -> float:
    """The duration in seconds; `what` names it in the error.

    Raises DeclarationError for anything that is no duration, is negative or over a hundred years.
    """
    if isinstance(duration, timedelta):
        result = duration.total_seconds()
    elif isinstance(duration, str):
        result = _parse(duration, what)
    elif isinstance(duration, (int, float)) and not isinstance(duration, bool):
        result = duration
    else:
        raise DeclarationError(
            f"{what} cannot be {duration!r}: write seconds, a timedelta or a string such as '30s'"
        )
    if not 0 <= result <= _LONGEST:
        raise DeclarationError(
            f"{what} cannot be {duration!r}: it must be from zero seconds to a hundred years"
        )
    return float(result)


def format_seconds(duration: float) -> str:
    """Format seconds for people, rounded to milliseconds, such as "5 s" for 4.99995."""
    return f"{round(duration, 3):g} s"


def _parse(text: str, what: str) -> float:
    if not _TEXT.fullmatch(text):
        raise DeclarationError(
            f"{what} cannot be {text!r}: write a number and a unit, "
            "such as '500ms', '30s', '5m', '6h', '2d' or '1h 30m'"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
