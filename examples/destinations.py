"""Destinations: another function, queue or event learns how an asynchronous invocation ended.

Run it:   eventmesh dev examples/destinations.py
Fire it:  eventmesh send videos.encode '{"name": "holiday.mov"}'
          eventmesh send videos.encode '{"name": "broken.mov"}'

`on_success` and `on_failure` name a function, a queue ("queue:NAME") or an event ("event:TYPE").
Each gets a record of the outcome: the request, and the result or the error. A caller that waits
(`eventmesh invoke`) has the result itself, so no record is sent.
"""

from typing import Any

from pydantic import BaseModel

from eventmesh import Context, Retry, Service, on

app = Service("videos")


class Video(BaseModel):
    name: str


class Outcome(BaseModel):
    """What a destination is told; some of it."""

    function: str
    outcome: str
    request: dict[str, Any]
    result: Any = None
    reason: str = ""


@app.function(
    retry=Retry(attempts=2, initial="1s", jitter="none"),
    on_success="event:video.encoded",
    on_failure="videos.complain",
)
async def encode(video: Video) -> str:
    if video.name.startswith("broken"):
        raise ValueError("no such codec")
    return video.name.replace(".mov", ".webm")


@app.function(on.event("video.encoded"))
async def publish(outcome: Outcome, ctx: Context) -> None:
    ctx.logger.info("%s is there", outcome.result)


@app.function
async def complain(outcome: Outcome, ctx: Context) -> None:
    ctx.logger.info("%s failed: %s", outcome.request["name"], outcome.reason)
