r"""A concurrency limit: so many runs at once, a short queue of callers, and no more.

Run it:   eventmesh dev examples/concurrency_limit.py
Fire it:  seq 6 | xargs -P6 -I{} curl -s -o /dev/null -w '%{http_code}\n' \
              -X POST http://127.0.0.1:8080/pages/{}/print

Two pages are printed at once and one caller waits; the others are refused at once (429 with
Retry-After, `Throttled` for a caller inside the mesh). Work that is sent instead of called is never
refused: it waits in its queue.
"""

import asyncio

from pydantic import BaseModel

from eventmesh import Service, on

app = Service("printer")


class Printed(BaseModel):
    page: int


@app.function(on.post("/pages/{page}/print"), concurrency=2, max_pending=1, timeout="10s")
async def print_page(page: int) -> Printed:
    await asyncio.sleep(2)  # The printer is slow.
    return Printed(page=page)
