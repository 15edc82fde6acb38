"""Streaming: a handler that yields is answered item by item.

Run it:   eventmesh dev examples/streaming.py
Fire it:  curl -N http://127.0.0.1:8080/countdown/5
          curl -N http://127.0.0.1:8080/countdown/5 -H 'Accept: text/event-stream'
          eventmesh invoke rocket.countdown '{"start": 3}'

Over HTTP that is one JSON document a line (NDJSON), or server-sent events for a client that accepts
them, such as a browser's EventSource. A caller by name gets all items as one list.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import BaseModel, Field

from eventmesh import Service, on

app = Service("rocket")


class Tick(BaseModel):
    seconds: int


@app.function(on.get("/countdown/{start}"))
async def countdown(
    start: Annotated[int, Field(ge=0, le=20)], interval: Annotated[float, Field(le=1)] = 1
) -> AsyncIterator[Tick]:
    """Count down to zero, one tick an interval (in seconds)."""
    for seconds in range(start, 0, -1):
        yield Tick(seconds=seconds)
        await asyncio.sleep(interval)
    yield Tick(seconds=0)
