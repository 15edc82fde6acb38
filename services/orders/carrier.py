"""A carrier for trials of the shop: flaky, and it takes no large parcels.

    python -m orders.carrier        # settings: CARRIER_PORT, CARRIER_FAILURE_RATE, …

It stands for a foreign system, so it shares no code with the service. It stores nothing.
"""

import logging
import os
import random
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, Field

STEPS: Final = ("booking", "label", "collection")


class Behaviour(BaseModel):
    """Its behaviour; each field is read from the variable CARRIER_ plus its name.

    A share `failure_rate` (0 to 1) of the requests fails: half before the effect, half after it. A
    parcel of more than `most_pieces` gets no label.
    """

    failure_rate: float = Field(default=0.2, ge=0, le=1)
    most_pieces: int = 100


class Carrier:
    """The carrier's books, and the application that serves them.

    `parcels` has the steps that were taken for each parcel and not undone, and `requests` what was
    asked for, with its answer's status.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.parcels: dict[str, set[str]] = {}
        self.requests: list[tuple[str, str, int]] = []

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._flaky])
        app.router.add_put("/parcels/{key}/{step}", self._take)
        app.router.add_delete("/parcels/{key}/{step}", self._undo)
        app.router.add_get("/healthz", self._health)
        return app

    def collected(self) -> set[str]:
        """Return the keys of the parcels that it has, or is to have."""
        return {key for key, taken in self.parcels.items() if "collection" in taken}

    @web.middleware
    async def _flaky(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "GET":
            return await handler(request)
        drawn = random.random()  # noqa: S311 - chance, no secret
        if drawn < self.behaviour.failure_rate / 2:
            response: web.StreamResponse = web.Response(status=503)
        else:
            response = await handler(request)
            if drawn < self.behaviour.failure_rate:
                response = web.Response(status=500)
        step = request.match_info.get("step", "")
        self.requests.append((request.method, step, response.status))
        return response

    async def _take(self, request: web.Request) -> web.Response:
        key, step = _find(request)
        pieces = int((await request.json())["pieces"])
        if step == "label" and pieces > self.behaviour.most_pieces:
            reason = f"the carrier takes parcels of {self.behaviour.most_pieces} pieces at most"
            return web.json_response({"reason": reason}, status=422)
        self.parcels.setdefault(key, set()).add(step)
        return web.json_response({"tracking": f"EM{key[:10].upper()}"})

    async def _undo(self, request: web.Request) -> web.Response:
        key, step = _find(request)
        self.parcels.get(key, set()).discard(step)
        return web.json_response({})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


def _find(request: web.Request) -> tuple[str, str]:
    if request.match_info["step"] not in STEPS:
        raise web.HTTPNotFound
    return request.match_info["key"], request.match_info["step"]


def main() -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level="INFO")
    texts = {name: os.environ.get(f"CARRIER_{name.upper()}") for name in Behaviour.model_fields}
    behaviour = Behaviour.model_validate({name: text for name, text in texts.items() if text})
    web.run_app(
        Carrier(behaviour).app(),
        host=os.environ.get("CARRIER_HOST", "127.0.0.1"),
        port=int(os.environ.get("CARRIER_PORT", "8091")),
        access_log=None,
    )


if __name__ == "__main__":
    main()
