"""Files that change in a folder fire functions."""

from eventmesh_watch.audit import audit
from eventmesh_watch.trigger import FileEvent, WatchTrigger, watch

__all__ = ["FileEvent", "WatchTrigger", "audit", "watch"]
