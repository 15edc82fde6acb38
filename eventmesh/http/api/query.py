"""Reads the query of a request to the control API."""

from __future__ import annotations

import re
from typing import Final

from eventmesh.http.server.request import Request, parse_query
from eventmesh.model.errors import Problem

_COUNT: Final = re.compile(r"[0-9]{1,9}")


def query_value(request: Request, name: str, default: str = "") -> str:
    """Read a query parameter; the last value, where there are several."""
    return parse_query(request.target).get(name, (default,))[-1]


def read_limit(request: Request) -> int | None:
    """Read the parameter `limit`; None without one. Raises Problem 422 if it is no number."""
    text = query_value(request, "limit")
    if text and not _COUNT.fullmatch(text):
        raise Problem(422, f"limit={text!r} is not a number")
    return int(text) if text else None
