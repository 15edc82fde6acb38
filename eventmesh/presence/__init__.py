"""Presence: the processes of a mesh tell each other over the broker that they run.

A process announces itself when it starts and whenever another process asks, sends a heartbeat every
`INTERVAL` seconds, and says goodbye when it stops. A process that misses `MISSED` heartbeats counts
as gone. Nothing is stored. While somebody looks, it also tells which runs go on and have ended.
"""

from eventmesh.presence.announcer import announce
from eventmesh.presence.instance import AnnouncedRoute, AnnouncedSources, Instance
from eventmesh.presence.looks import Look, Looker, look_into
from eventmesh.presence.observer import Observer, observe
from eventmesh.presence.work_meter import WorkMeter

__all__ = [
    "AnnouncedRoute",
    "AnnouncedSources",
    "Instance",
    "Look",
    "Looker",
    "Observer",
    "WorkMeter",
    "announce",
    "look_into",
    "observe",
]
