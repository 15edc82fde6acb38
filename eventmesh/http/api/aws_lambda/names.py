"""Names of functions as clients of AWS Lambda write them."""

from __future__ import annotations

import re
from typing import Final

LATEST: Final = "$LATEST"
"""The only version of a function."""

_NAME: Final = re.compile(
    r"(?:arn:aws[a-z-]*:lambda:)?(?:[a-z]{2}(?:-[a-z]+)+-[0-9]:)?(?:[0-9]{12}:)?(?:function:)?"
    r"(?P<name>[A-Za-z0-9_.-]+)(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]+))?"
)


def parse_name(text: str) -> tuple[str, str] | None:
    """Parse the name and the qualifier ("" if there is none); None if it is not a function name.

    It may be a name, an ARN (`arn:aws:lambda:REGION:ACCOUNT:function:NAME`) or a part of one
    (`ACCOUNT:function:NAME`), each with `:QUALIFIER` at its end or without. Region and account
    mean nothing here.
    """
    found = _NAME.fullmatch(text)
    return None if found is None else (found["name"], found["qualifier"] or "")


def arn(name: str) -> str:
    """Build the ARN of a function, as messages have it."""
    return f"arn:aws:lambda:xx-mesh-1:000000000000:function:{name}"
