"""Shipping with a carrier, by its HTTP API: three steps, and how each is undone."""

from typing import Any, Literal

import aiohttp

from eventmesh import Reject

from .models import Order

Step = Literal["booking", "label", "collection"]


class CarrierError(Exception):
    """The carrier failed, or cannot be reached: it may or may not have done its part."""


class Shipping:
    """Requests to the carrier, with the order as the key: a repeated one changes nothing.

    All raise CarrierError, and Reject for what the carrier refuses for good.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def book(self, order: Order) -> None:
        """Have the carrier keep room for the parcel."""
        await self._take("booking", order)

    async def cancel_booking(self, order_id: str) -> None:
        await self._undo("booking", order_id)

    async def buy_label(self, order: Order) -> str:
        """Return the number by which the parcel is tracked."""
        answer = await self._take("label", order)
        return str(answer["tracking"])

    async def void_label(self, order_id: str) -> None:
        await self._undo("label", order_id)

    async def hand_over(self, order: Order) -> None:
        """Have the parcel collected."""
        await self._take("collection", order)

    async def call_back(self, order_id: str) -> None:
        await self._undo("collection", order_id)

    async def _take(self, step: Step, order: Order) -> dict[str, Any]:
        pieces = sum(line.count for line in order.lines)
        return await self._ask("PUT", step, order.order_id, {"pieces": pieces})

    async def _undo(self, step: Step, order_id: str) -> None:
        await self._ask("DELETE", step, order_id, None)

    async def _ask(self, method: str, step: Step, key: str, body: object) -> dict[str, Any]:
        path = f"/parcels/{key}/{step}"
        try:
            async with self._session.request(method, path, json=body) as reply:
                if reply.status == 422:  # noqa: PLR2004 - RFC 9110, section 15.5.21
                    raise Reject((await reply.json())["reason"])
                if reply.status != 200:  # noqa: PLR2004 - RFC 9110, section 15.3.1
                    raise CarrierError(f"the carrier answered {path} with {reply.status}")
                answer: dict[str, Any] = await reply.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CarrierError(f"the carrier cannot be reached: {error!r}") from error
        return answer
