"""How the texts of environment variables are read, and what each kind accepts, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from eventmesh.model.duration import seconds

Parse: TypeAlias = Callable[[str], Any]
"""From a variable's text, which is not empty, to its value. Raises ValueError."""


def parse_choice(choices: Mapping[str, Any]) -> Parse:
    """Return what reads one of `choices`, in upper or lower case."""

    def parse(text: str) -> Any:
        if text.lower() not in choices:
            raise ValueError(text)
        return choices[text.lower()]

    return parse


def whole(least: int, most: float) -> Parse:
    """Return what reads a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError(text)
        return number

    return parse


def parse_host(text: str) -> str:
    """Read a host name or an address. Raises ValueError."""
    if any(character in "/@[]?#" or character.isspace() for character in text):
        raise ValueError(text)
    return text


def parse_names(text: str) -> tuple[str, ...]:
    """Read names with commas between them. Raises ValueError."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError(text)
    return names


def parse_revision(text: str) -> str:
    """Read the name of a version. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9_.:@/+-]{1,128}", text):
        raise ValueError(text)
    return text


def parse_text(text: str) -> str:
    """Read a text of printable ASCII. Raises ValueError."""
    if not text.isascii() or not text.isprintable():
        raise ValueError(text)
    return text


def parse_token(text: str) -> str:
    """Read a token (RFC 6750, section 2.1). Raises ValueError."""
    # Nothing that could end a header's line.
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", text):
        raise ValueError(text)
    return text


def parse_duration(text: str) -> float:
    """Read a duration as seconds: a number, or with a unit. Raises DeclarationError."""
    try:
        number = float(text)
    except ValueError:
        return seconds(text)
    return seconds(number)


def parse_timeout(text: str) -> float:
    """Read a duration above zero. Raises ValueError and DeclarationError."""
    duration = parse_duration(text)
    if not duration:
        raise ValueError(text)
    return duration


HOST: Final = (parse_host, "a host name or an address, such as 127.0.0.1, or 0.0.0.0 for all")
PORT: Final = (whole(0, 65535), "a port: 1 to 65535, or 0 for any free one")
TIMEOUT: Final = (parse_timeout, "a time above zero: seconds, or with a unit such as 500ms or 2m")
BYTES: Final = (whole(1, float("inf")), "a number of bytes, 1 or more")
COUNT: Final = (whole(1, float("inf")), "a number, 1 or more")
DESCRIPTOR: Final = (whole(3, float("inf")), "the number of an open file descriptor, 3 or more")
YES_NO: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}

AUTO: Final = (parse_choice({**YES_NO, "auto": None}), "auto, true or false")
