"""What is left at the broker by versions of services that no longer run.

A service's inboxes, and their bindings to patterns of events, outlive its processes: that is why
nothing is lost while they restart. So what a newer version does not declare any more stays, too.
Each process therefore notes in a record of its service what it declares, and a process of a newer
version unbinds what no running process declares any more. Queues are never deleted by a service:
`eventmesh doctor` names them, and `eventmesh prune` removes them.
"""

from eventmesh.leftovers.keeper import keep_records

__all__ = ["keep_records"]
