"""The namespace of triggers: what may fire a function.

    @orders.function(on.post("/orders"), on.event("cart.checked_out"))

A trigger is data; it takes effect when its service is run. A new kind of trigger is a new module
beside this one, with a class that is a `Trigger`, and its name here; or it comes from another
package, as an entry point of the group "eventmesh.triggers", and is found under its name here.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Unpack

from eventmesh.model.duration import Duration, seconds
from eventmesh.plugins import TRIGGERS, load_plugin, plugin_names
from eventmesh.triggers.event import EventTrigger
from eventmesh.triggers.http import HttpTrigger, RouteOptions, declare_route
from eventmesh.triggers.queue import QueueTrigger
from eventmesh.triggers.timer.schedules import CatchUp
from eventmesh.triggers.timer.trigger import (
    TimerTrigger,
    build_at,
    build_cron,
    build_every,
    duration_microseconds,
)


def get(path: str, **options: Unpack[RouteOptions]) -> HttpTrigger:
    """GET requests to `path`, such as "/orders/{order_id}": a name in braces is one segment.

    The last one may be `{name:path}`, the rest of the path: all its segments, or nothing.

    The values of the path, the query and headers fill parameters. The `options` are those of every
    route: see `RouteOptions`. HEAD is answered as GET is, without the body.
    """
    return declare_route("GET", path, options)


def post(path: str, **options: Unpack[RouteOptions]) -> HttpTrigger:
    """POST requests to `path`, whose body is the payload; all else as in `get`."""
    return declare_route("POST", path, options)


def put(path: str, **options: Unpack[RouteOptions]) -> HttpTrigger:
    """PUT requests to `path`, whose body is the payload; all else as in `get`."""
    return declare_route("PUT", path, options)


def patch(path: str, **options: Unpack[RouteOptions]) -> HttpTrigger:
    """PATCH requests to `path`, whose body is the payload; all else as in `get`."""
    return declare_route("PATCH", path, options)


def delete(path: str, **options: Unpack[RouteOptions]) -> HttpTrigger:
    """DELETE requests to `path`, whose body is not read; all else as in `get`."""
    return declare_route("DELETE", path, options)


def any(path: str, **options: Unpack[RouteOptions]) -> HttpTrigger:  # noqa: A001  # on.any
    """Requests to `path` of each method that no other route of it has, with their bodies.

    `on.any("/{path:path}")` is all of a server, as a function URL of AWS Lambda is. OPTIONS is
    answered by the server: say with the service's `cors` what pages of other origins may do. All
    else as in `get`; `idempotent` is for the routes of one method.
    """
    return declare_route("ANY", path, options)


def queue(
    name: str, *, batch: int | None = None, batch_window: Duration = 0.0, declare: bool = True
) -> QueueTrigger:
    """Each message of the queue `name`; with `batch`, up to so many of them as a list.

    A batch waits at most `batch_window` (a duration) for its last message. The queue is made if
    it is not there; with `declare` False it belongs to another system and must exist.
    """
    return QueueTrigger(name, batch, seconds(batch_window, "batch_window"), declare)


def event(*patterns: str, broadcast: bool = False, starts: bool = True) -> EventTrigger:
    """Events whose type fits a pattern: `*` stands for one word, `#` for any number of words.

    Each subscribed function gets its own copy, which its replicas share; with `broadcast` every
    instance that runs gets one. With `starts=False` the event begins no execution of a durable
    function: those that wait for it, by `ctx.wait_for_event`, get it.
    """
    return EventTrigger(patterns, broadcast, starts)


def every(
    period: Duration,
    *,
    jitter: Duration = 0.0,
    catch_up: CatchUp = "skip",
    start: datetime | str | None = None,
) -> TimerTrigger:
    """Every `period` (a duration, 100 ms or longer), once across all replicas.

    The moments are the multiples of the period since `start`, which is the first one, or since
    the beginning of 1970 (UTC): a restart does not shift them. Each run is up to `jitter` (a
    duration) later than its moment. `catch_up` is what happens to moments that were missed by more
    than a minute: "skip" them, fire "once" for the latest, or fire "all" of them (1,000 at most).
    """
    return TimerTrigger(
        build_every(period, start), catch_up, duration_microseconds(jitter, "jitter")
    )


def cron(
    expression: str, *, tz: str = "UTC", jitter: Duration = 0.0, catch_up: CatchUp = "skip"
) -> TimerTrigger:
    """The moments that fit a cron expression on the clocks of `tz`, once across all replicas.

    Five fields: minute, hour, day of the month, month, day of the week, as Debian's cron has them;
    what happens when the clocks change is in docs/guide/timers.md. `jitter` and `catch_up` as for
    `every`.
    """
    return TimerTrigger(
        build_cron(expression, tz), catch_up, duration_microseconds(jitter, "jitter")
    )


def at(when: datetime | str, *, catch_up: CatchUp = "once") -> TimerTrigger:
    """One moment: a datetime with a time zone, or "2026-12-24T18:00:00+01:00".

    When it was missed by more than a minute, it does not fire with "skip"; it does with "once" if
    the service had run with it before, and with "all" also if it had not.
    """
    return TimerTrigger(build_at(when), catch_up)


_ROUTES: Final = ("get", "post", "put", "patch", "delete", "any")
_NAMES: Final = (*_ROUTES, "queue", "event", "every", "cron", "at")
_ADVICE: Final = {
    "head": "HEAD is answered where on.get answers",
    "options": "the server answers OPTIONS itself, with the methods of the path",
}

if not TYPE_CHECKING:  # A type checker finds by itself what is not here.

    def __getattr__(name: str) -> object:
        if name.startswith("_"):  # Which Python itself asks for now and then.
            raise AttributeError(f"there is no on.{name}", name=name)
        provided = load_plugin(TRIGGERS, name)
        if provided is not None:
            return provided
        known = ", ".join(f"on.{trigger}" for trigger in (*_NAMES, *plugin_names(TRIGGERS)))
        advice = _ADVICE.get(name.lower(), f"there are {known}")
        raise AttributeError(f"there is no trigger on.{name}: {advice}", name=name)
