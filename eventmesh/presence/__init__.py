"""Who is there: each process of the mesh tells the others over the broker, and nothing is stored.

A process announces itself when it starts, again whenever somebody asks, and that it is still there
every `INTERVAL` seconds; when it stops it says so. Of whom nothing was heard for `MISSED` intervals
is taken for gone.
"""

from eventmesh.presence.announcer import announcing
from eventmesh.presence.instance import AnnouncedRoute, Instance
from eventmesh.presence.observer import Observer, observing

__all__ = ["AnnouncedRoute", "Instance", "Observer", "announcing", "observing"]
