"""A queue worker: each message of a queue runs a function, a few at a time.

Run it:   eventmesh dev examples/queue_worker.py
Fire it:  eventmesh send queue:pictures '{"name": "cat.png", "width": 200}'

A plain `def` runs in a thread, so that it may block. The message is acknowledged after the function
has succeeded: a worker that is killed in between loses nothing, the message is delivered again.
"""

import hashlib

from pydantic import BaseModel

from eventmesh import Context, Service, on

app = Service("thumbnails")


class Picture(BaseModel):
    name: str
    width: int = 100


@app.function(on.queue("pictures"), concurrency=4, timeout="1m")
def shrink(picture: Picture, ctx: Context) -> None:
    """Make a thumbnail: hard work, which here is only pretended."""
    digest = hashlib.pbkdf2_hmac("sha256", picture.name.encode(), b"pixels", 10_000)
    ctx.logger.info("%s is now %d wide (%s)", picture.name, picture.width, digest.hex()[:8])
