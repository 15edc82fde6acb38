"""Dead letters as JSON."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from eventmesh.engine.dead_letters import DeadLetter


def dead_letter_members(letter: DeadLetter) -> dict[str, Any]:
    """The members of a dead letter's JSON object.

    A payload that is JSON is the member `payload` as it is, any other is `payload_base64`.
    """
    return {
        "id": letter.id,
        "function": letter.function,
        "reason": letter.reason,
        "error_type": letter.error_type,
        "error_message": letter.error_message,
        "traceback": letter.traceback,
        "attempts": letter.attempts,
        "trigger": letter.trigger,
        "created": letter.created,
        "first_failure": letter.first_failure,
        "last_failure": letter.last_failure,
        "content_type": letter.content_type,
        "headers": dict(letter.headers),
        **_payload(letter.payload),
    }


def _payload(payload: bytes) -> dict[str, Any]:
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {"payload_base64": base64.b64encode(payload).decode()}
    return {"payload": orjson.Fragment(payload)}
