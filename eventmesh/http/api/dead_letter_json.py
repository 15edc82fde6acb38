"""Dead letters as JSON."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from eventmesh.engine.codecs.json_bounds import is_small_json
from eventmesh.engine.upkeep.dead_letters import DeadLetter
from eventmesh.model.trace_context import find_correlation_id


def dead_letter_members(dead_letter: DeadLetter) -> dict[str, Any]:
    """The members of a dead letter's JSON object.

    A payload that is JSON is the member `payload` as it is, any other is `payload_base64`: JSON
    with so many values that it was never parsed, too.
    """
    return {
        "id": dead_letter.id,
        "function": dead_letter.function,
        "reason": dead_letter.reason,
        "error_type": dead_letter.error_type,
        "error_message": dead_letter.error_message,
        "traceback": dead_letter.traceback,
        "attempts": dead_letter.attempts,
        "redeliveries": dead_letter.redeliveries,
        "trigger": dead_letter.trigger,
        "created": dead_letter.created,
        "first_failure": dead_letter.first_failure,
        "last_failure": dead_letter.last_failure,
        "content_type": dead_letter.content_type,
        "correlation_id": find_correlation_id(dead_letter.headers, dead_letter.id),
        "headers": dict(dead_letter.headers),
        **_payload(dead_letter.payload),
    }


def _payload(payload: bytes) -> dict[str, Any]:
    if is_small_json(payload):
        return {"payload": orjson.Fragment(payload)}
    return {"payload_base64": base64.b64encode(payload).decode()}
