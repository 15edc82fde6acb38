"""Functions fired by HTTP requests.

The trigger is data, and all that this package loads; the server is loaded when it is started.
"""

from eventmesh.triggers.http.trigger import HttpTrigger

__all__ = ["HttpTrigger"]
