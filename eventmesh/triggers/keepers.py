"""What only a running process does, so that one of a service has to run always."""

from __future__ import annotations

from collections.abc import Iterable

from eventmesh.engine.spec import FunctionSpec
from eventmesh.triggers.event import EventTrigger
from eventmesh.triggers.timer.trigger import TimerTrigger


def find_keeper(functions: Iterable[FunctionSpec]) -> str:
    """Return what keeps one process of these functions running; "" if all may go."""
    for function in functions:
        for trigger in function.triggers:
            if isinstance(trigger, TimerTrigger):
                return f"the timer of {function.full_name}, {trigger.describe()}"
            if isinstance(trigger, EventTrigger) and trigger.broadcast:
                return f"the broadcast events of {function.full_name}, which nothing keeps for it"
        if function.durability is not None:
            return f"the executions of {function.full_name}, which wait for timers"
    return ""
