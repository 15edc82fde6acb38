"""The shop at work: orders by real HTTP requests, and what fires what, as it happens.

    make demo, or python -m services.demo

All five services run in this process on the embedded broker, beside a payment provider, a carrier
and a mail server that speak HTTP and SMTP. The clock is the one for tests, which is moved: nothing
waits.
"""

import asyncio
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .payments.provider import Behaviour
from .shop import Shop, open_shop
from .traces import Traces

WELL = Behaviour(failure_rate=0, latency_seconds=0.1)
BADLY = Behaviour(failure_rate=1, latency_seconds=0.1)
EVENING = datetime(2026, 5, 1, 23, 45, tzinfo=UTC)


class Demo:
    """The shop, and the screen on which it is shown."""

    def __init__(self, shop: Shop, traces: Traces, provider: TracerProvider) -> None:
        self.shop = shop
        self.traces = traces
        self.tracer = provider.get_tracer("demo")
        self.console = Console(highlight=False)

    async def order(self, title: str, behaviour: Behaviour = WELL, **counts: int) -> None:
        """Order something, and show what follows. The provider behaves so, but soon well again."""
        self.say(title)
        self.shop.provider.behaviour = behaviour
        basket = ", ".join(f"{count} {sku}" for sku, count in counts.items())
        span = self.tracer.start_span(f"POST /orders  {basket}")
        headers: dict[str, str] = {}
        propagate.inject(headers, trace.set_span_in_context(span))
        with self.showing():
            status, answer = await self.shop.order(title, headers, **counts)
            span.update_name(f"POST /orders  {basket}  →  {status} {_brief(answer)}")
            await self.shop.mesh.settle()
            self.shop.provider.behaviour = WELL
            await self.shop.mesh.advance("4s")  # Retries are due, and the batch of mails is closed.
        span.end()

    @contextmanager
    def showing(self) -> Generator[None]:
        """Show the tree of the latest trace, and draw it anew while it grows."""
        root = self.traces.roots[-1]
        with Live(
            get_renderable=lambda: Group(self.traces.tree(root), ""),
            console=self.console,
            refresh_per_second=20,
        ):
            yield

    def say(self, title: str) -> None:
        self.console.print(Text(f"{self.shop.mesh.now:%H:%M:%S}  {title}", "bold magenta"))

    async def later(self, duration: str, name: str, title: str) -> None:
        """Move the clock, and show what led to a function of that name meanwhile."""
        known = self.traces.count
        await self.shop.mesh.advance(duration)
        self.say(title)
        for branch in self.traces.branches(name, known):
            self.console.print(branch)
        self.console.print()

    async def results(self) -> bool:
        """Show the mails, the report and the ledgers; whether these balance."""
        for mail in self.shop.mailbox.mails:
            self.console.print(f"[bold]mail[/]  {mail['To']}: {mail['Subject']}")
        for day in await self.shop.get("/reports/closed"):
            revenue = f"revenue {day['revenue'] / 100:.2f}"
            placed = f"{day['placed']} orders, {day['confirmed']} confirmed, "
            self.console.print(
                f"[bold]report[/]  {day['day']}: {placed}{day['cancelled']} cancelled, {revenue}"
            )
        table = Table("Ledger", "went well", "did not")
        ledgers = await self.shop.ledgers()
        for name, well, badly in ledgers:
            table.add_row(name, str(well), str(badly))
        self.console.print("", table)
        return len({(well, badly) for _, well, badly in ledgers}) == 1


def _brief(answer: dict[str, Any]) -> str:
    if "total" in answer:
        return f"{answer['status']}, {answer['total'] / 100:.2f}"
    return f"{answer['detail']}: {', '.join(answer['missing'])}"


async def main() -> bool:
    """Run it all; whether the ledgers balance in the end."""
    # What goes wrong here is meant to, and is shown.
    logging.getLogger("eventmesh").setLevel(logging.CRITICAL)
    traces, provider = Traces(), TracerProvider()
    provider.add_span_processor(traces)
    trace.set_tracer_provider(provider)
    with TemporaryDirectory() as folder:
        async with open_shop(Path(folder), WELL, start=EVENING) as shop:
            demo = Demo(shop, traces, provider)
            await demo.order("Ada orders tea", tea=3)
            await demo.order("The payment provider fails at first", BADLY, tea=1)
            await demo.order("Thirty pots are more than her card takes", pot=30)
            await demo.order("Nobody sells unicorns", unicorn=1)
            await demo.order("Two hundred are more than the carrier takes", tea=200)
            await demo.later("20m", "reports.close_day", "After midnight, the day is closed")
            await demo.later(
                "1d", "notifications.remind", "After a day, customers hear of their parcels"
            )
            return await demo.results()


if __name__ == "__main__":
    sys.exit(not asyncio.run(main()))
