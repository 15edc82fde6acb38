"""Testing with a clock that the test moves: a service, and its tests in the same file.

Run it:   pytest examples/testing_with_clock.py
          (and as a service: eventmesh dev examples/testing_with_clock.py)

A reminder three days later, a retry in an hour and a cron of next Monday run in milliseconds, in
the same order each time. All messages, events, retries and dead letters can be asserted.
With pytest-asyncio in its "strict" mode, each test wants the mark @pytest.mark.asyncio.
"""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from eventmesh import Context, Retry, Service, on
from eventmesh.testing import TestMesh

trial = Service("trial")


class Account(BaseModel):
    email: str


@trial.function(retry=Retry(attempts=2, initial="1h", maximum="1h", jitter="none"))
async def begin(account: Account, ctx: Context) -> None:
    await ctx.invoke("crm.add", account)
    await ctx.send("mailer.remind", account, delay="3d")


@trial.function(on.cron("0 8 * * MON"))
async def summarise(ctx: Context) -> None:
    await ctx.emit("trial.summarised")


async def test_the_reminder_comes_after_three_days() -> None:
    reminded: list[object] = []
    async with TestMesh(trial, stubs={"crm.add": None, "mailer.remind": reminded.append}) as mesh:
        await mesh.send(begin, Account(email="ada@example.com"))
        await mesh.advance("2d 23h")
        assert reminded == []
        await mesh.advance("1h")
        assert reminded == [{"email": "ada@example.com"}]


async def test_a_failure_is_tried_again_after_an_hour() -> None:
    stubs = {"crm.add": ConnectionError("the CRM is away"), "mailer.remind": None}
    async with TestMesh(trial, stubs=stubs, allow_failures=True) as mesh:
        await mesh.send(begin, Account(email="ada@example.com"))
        await mesh.advance("1h")
        assert [retry.delay for retry in mesh.retried] == [3600.0]
        (letter,) = mesh.dead_letters
        assert "the CRM is away" in letter.error_message
        assert letter.read(Account).email == "ada@example.com"


async def test_mondays_at_eight() -> None:
    async with TestMesh(trial, start=datetime(2026, 5, 1, tzinfo=UTC)) as mesh:
        await mesh.advance(timedelta(weeks=2))
        assert [event.time for event in mesh.emitted] == [
            datetime(2026, 5, 4, 8, tzinfo=UTC),
            datetime(2026, 5, 11, 8, tzinfo=UTC),
        ]
