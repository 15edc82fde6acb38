"""The headers that a client sets for an invocation, without those that only the mesh sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventmesh.model.errors import Problem
from eventmesh.model.trace_context import TRACE_HEADERS

_RESERVED: Final = (
    "em-",  # our own: attempts, deadlines, and where a dead letter comes from
    "em_",
    "cloudevents:",  # the attributes of events and timers, which have a place of their own
    "cloudevents_",
    "x-death",  # how RabbitMQ counts, and by what it routes copies
    "x-first-death-",
    "x-last-death-",
    "x-delivery-count",
    "x-acquired-count",
    "x-opt-",
)
"""How the names of such headers begin, in small letters."""

_COPIES: Final = ("cc", "bcc")
"""RabbitMQ sends a copy to each queue that these name."""


def accept_message_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a client may set. Raises Problem 400 for one that it may not.

    Those of a trace are left out, whatever sets them: it goes by headers of its own, of which not
    everything is believed.
    """
    headers: dict[str, str] = {}
    for name, text in given.items():
        lower = name.lower()
        if lower.startswith(_RESERVED) or lower in _COPIES:
            raise Problem(
                400, f"the header {name!r} of a message is set by the mesh: use another name"
            )
        if lower not in TRACE_HEADERS:
            headers[name] = text
    return headers
