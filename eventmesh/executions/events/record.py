"""An event as an execution records it."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from eventmesh.engine.codecs.json import decode, decode_as, get_adapter
from eventmesh.model.event import Event, event_from
from eventmesh.model.invocation import Invocation
from eventmesh.model.message import JSON

_WHAT: Final = "the event's data"


class EventRecord(BaseModel):
    """The attributes of an event, and its data: JSON text, or base64 of other content."""

    id: str
    type: str
    source: str
    time: datetime
    subject: str = ""
    content_type: str = JSON
    data: str

    def read(self, returns: Any) -> Any:
        """Return the data as the type `returns`, or the event, if that is `Event` or `Event[T]`.

        Raises PayloadInvalid.
        """
        if (get_origin(returns) or returns) is not Event:
            return self._read_data(returns)
        (inner,) = get_args(returns) or (Any,)
        return Event(
            self.type,
            self._read_data(inner),
            self.id,
            self.source,
            self.time,
            self.subject,
            self.content_type,
        )

    def decode(self) -> Any:
        """Return the data as JSON has it; bytes, if it is no JSON. Raises PayloadInvalid."""
        return self._read_data(Any)

    def _read_data(self, type: Any) -> Any:
        if "json" not in self.content_type:
            return base64.b64decode(self.data)
        body = self.data.encode()
        if type is Any or type is None:
            return decode(body, _WHAT)
        return decode_as(body, get_adapter(type), _WHAT)


def record_event(invocation: Invocation) -> EventRecord:
    """Return the event that an invocation carries. Raises PayloadInvalid for an invalid time."""
    event = event_from(
        invocation.type,
        invocation.id,
        None,
        invocation.content_type,
        invocation.headers,
        created=invocation.created,
    )
    payload = invocation.payload
    is_json = "json" in event.content_type
    return EventRecord(
        id=event.id,
        type=event.type,
        source=event.source,
        time=event.time,
        subject=event.subject,
        content_type=event.content_type,
        data=payload.decode() if is_json else base64.b64encode(payload).decode(),
    )


def read_record(text: str | None) -> EventRecord:
    """Return the event that an operation has recorded."""
    return EventRecord.model_validate_json(text or "null")
