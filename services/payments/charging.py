"""A client of the payment provider's HTTP API."""

from typing import Any

import aiohttp

from .models import PlacedOrder


class ProviderError(Exception):
    """The provider failed, or its reply was not valid: it may or may not have charged."""


class Pause(Exception):
    """The provider asks for a pause of `seconds` before the next request."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the provider asks for a pause of {seconds} s")
        self.seconds = seconds


class Declined(Exception):
    """The provider declined the charge; the reason is for the customer."""


class Charging:
    """Charges and refunds, with the order as idempotency key: a repeated call has no effect."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def charge(self, order: PlacedOrder) -> None:
        """Charge for an order. Raises Declined, Pause or ProviderError."""
        answer = await self._post("/charges", {"key": order.order_id, "amount": order.total})
        if answer["status"] == "declined":
            raise Declined(answer["reason"])

    async def refund(self, order_id: str) -> None:
        """Refund a charge, or prevent it for good if there was none. Raises as `charge` does."""
        await self._post("/refunds", {"key": order_id})

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with self._session.post(path, json=body) as reply:
                if reply.status == 429:  # noqa: PLR2004 - RFC 6585, section 4
                    raise Pause(_seconds(reply.headers.get("Retry-After", "")))
                if reply.status not in (200, 402):
                    raise ProviderError(f"the provider answered {path} with {reply.status}")
                answer: dict[str, Any] = await reply.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderError(f"the provider cannot be reached: {error!r}") from error
        return answer


def _seconds(retry_after: str) -> int:
    """Return the seconds of a Retry-After (RFC 9110, section 10.2.3); 0 for a date or none."""
    return int(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0
