"""Timers of a service that runs: from the clock to the handler."""

from eventmesh import Context, Event, Retry, Service, on
from eventmesh.testing import TestMesh


async def test_the_handler_gets_the_event():
    reports, runs = Service("reports"), []

    @reports.function(on.cron("0 3 * * *", tz="Europe/Berlin"))
    async def nightly(event: Event, ctx: Context) -> None:
        runs.append((ctx.trigger, event.subject, event.time, ctx.scheduled_at))
        assert event.data is None
        assert event.id == ctx.id

    async with TestMesh(reports) as mesh:
        await mesh.advance("2h")
        ((trigger, subject, time, scheduled_at),) = runs
    assert (trigger, subject) == ("cron", "cron 0 3 * * * (Europe/Berlin)")
    assert time == scheduled_at
    assert time.isoformat() == "2026-01-01T02:00:00+00:00"


async def test_a_function_without_parameters_is_run():
    reports, runs = Service("reports"), []

    @reports.function(on.every("10s"))
    def tick(count: int = 1) -> None:
        runs.append(count)

    async with TestMesh(reports) as mesh:
        await mesh.advance("1m")
    assert runs == [1] * 6


async def test_jitter_makes_no_firing_too_old():
    reports, runs = Service("reports"), []

    @reports.function(on.cron("0 0 * * *", jitter="12h"), retry=Retry(max_age="1h"))
    async def nightly(ctx: Context) -> None:
        runs.append(ctx.scheduled_at.day)

    async with TestMesh(reports) as mesh:
        await mesh.advance("5d")
    assert runs == [2, 3, 4, 5]
