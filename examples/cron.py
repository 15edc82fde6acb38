"""Timers: a cron expression in a time zone, and an interval.

Run it:   eventmesh dev examples/cron.py
Fire it:  wait for the next full minute, or do not wait: eventmesh invoke reports.daily

However many replicas run, each moment fires once. The event's time is the moment that was
scheduled, also when the run comes later.
"""

from zoneinfo import ZoneInfo

from eventmesh import Context, Event, Service, on

app = Service("reports")

BERLIN = ZoneInfo("Europe/Berlin")


@app.function(on.cron("0 7 * * MON-FRI", tz="Europe/Berlin"))
async def daily(event: Event[None], ctx: Context) -> None:
    """At seven in the morning in Berlin, on working days, in summer and in winter."""
    day = event.time.astimezone(BERLIN).date()
    await ctx.emit("report.due", {"day": day})


@app.function(on.every("1m"))
async def heartbeat(ctx: Context) -> None:
    """Every full minute."""
    ctx.logger.info("still here at %s", ctx.scheduled_at)
