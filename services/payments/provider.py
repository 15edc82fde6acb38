"""A payment provider for trials of the shop: slow and flaky, but it never charges a key twice.

    python -m payments.provider        # settings: PROVIDER_PORT, PROVIDER_FAILURE_RATE, …

It stands for a foreign system, so it shares no code with the service. It stores nothing.
"""

import asyncio
import logging
import os
import random

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, Field


class Behaviour(BaseModel):
    """Its behaviour; each field is read from the variable PROVIDER_ plus its name.

    A share `failure_rate` (0 to 1) of the requests fails: half before the effect, half after it. An
    amount over `decline_over` (cents) is declined. If `pause_seconds` is not 0, all requests are
    refused with a 429 that asks for that pause.
    """

    failure_rate: float = Field(default=0.2, ge=0, le=1)
    latency_seconds: float = Field(default=0.05, ge=0)
    decline_over: int = 100_000
    pause_seconds: int = Field(default=0, ge=0)


class Provider:
    """The provider's books, and the application that serves them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.charges: dict[str, int] = {}
        self.refunds: set[str] = set()
        self.requests = 0
        self.at_once = 0
        self.most_at_once = 0

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._flaky])
        app.router.add_post("/charges", self._charge)
        app.router.add_post("/refunds", self._refund)
        app.router.add_get("/ledger", self._ledger)
        app.router.add_get("/healthz", self._health)
        return app

    @web.middleware
    async def _flaky(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "GET":
            return await handler(request)
        self.requests += 1
        if self.behaviour.pause_seconds:
            raise web.HTTPTooManyRequests(
                headers={"Retry-After": str(self.behaviour.pause_seconds)}
            )
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.behaviour.latency_seconds)
        self.at_once -= 1
        drawn = random.random()  # noqa: S311 - chance, no secret
        if drawn < self.behaviour.failure_rate / 2:
            raise web.HTTPServiceUnavailable
        response = await handler(request)
        if drawn < self.behaviour.failure_rate:
            raise web.HTTPInternalServerError
        return response

    async def _charge(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        key, amount = str(wanted["key"]), int(wanted["amount"])
        if key in self.refunds:
            return _declined("the charge was withdrawn")
        if key not in self.charges and amount > self.behaviour.decline_over:
            return _declined("the card was declined")
        self.charges.setdefault(key, amount)
        return web.json_response({"status": "succeeded"})

    async def _refund(self, request: web.Request) -> web.Response:
        self.refunds.add(str((await request.json())["key"]))
        return web.json_response({"status": "refunded"})

    async def _ledger(self, _: web.Request) -> web.Response:
        return web.json_response(self.ledger())

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    def ledger(self) -> dict[str, int]:
        """Count the charges that were not refunded, their cents, and all requests."""
        kept = [amount for key, amount in self.charges.items() if key not in self.refunds]
        return {"charges": len(kept), "amount": sum(kept), "requests": self.requests}


def _declined(reason: str) -> web.Response:
    return web.json_response({"status": "declined", "reason": reason}, status=402)


def main() -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level="INFO")
    texts = {name: os.environ.get(f"PROVIDER_{name.upper()}") for name in Behaviour.model_fields}
    behaviour = Behaviour.model_validate({name: text for name, text in texts.items() if text})
    web.run_app(
        Provider(behaviour).app(),
        host=os.environ.get("PROVIDER_HOST", "127.0.0.1"),
        port=int(os.environ.get("PROVIDER_PORT", "8090")),
        access_log=None,
    )


if __name__ == "__main__":
    main()
