r"""A limit across the whole mesh: so many runs at once, however many replicas there are.

Run it:   eventmesh dev examples/mesh_wide_limit.py
Fire it:  for city in Rome Oslo Lima; do eventmesh send weather.fetch "{\"city\": \"$city\"}"; done

The weather service allows its customers one request at a time. `concurrency` counts the runs of one
process; `reserved_concurrency` is held in the broker and counts those of all of them.
"""

import asyncio

from eventmesh import Context, Service

app = Service("weather")


@app.function(reserved_concurrency=1, timeout="10s")
async def fetch(city: str, ctx: Context) -> None:
    await asyncio.sleep(1)  # Here it would ask the weather service.
    await ctx.emit("weather.fetched", {"city": city})
