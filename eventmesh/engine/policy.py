"""Refuses calls that a function's options `access` and `callers` do not allow.

Its own triggers fire a function whoever caused them: who may use a route is for its authorizer.
What is left is a call by name, and for `callers` also an event. Who calls is what is believed of
the message that brought it (docs/adr/0017).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final

from eventmesh.abc import Handler
from eventmesh.durable.completion import CONTINUATIONS, DURABLE
from eventmesh.engine.codecs.identity import decode_identity
from eventmesh.engine.spec import FunctionSpec
from eventmesh.model.access.policy import PRIVATE
from eventmesh.model.errors import AccessDenied
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result

_EVENT: Final = "event"
_RECORD: Final = "destination"
"""What fires a function for an event, and for a record of an outcome, which may be an event."""

_NOBODY: Final = "a client without an identity"

_log: Final = logging.getLogger(__name__)


class CallGuard:
    """Refuses the calls of one function that its policy does not allow, and counts them."""

    __slots__ = ("_is_durable", "_kinds", "_name", "_policy", "_service", "denied")

    def __init__(self, function: FunctionSpec) -> None:
        self._name = function.full_name
        self._service = function.service
        self._policy = function.policy
        self._kinds = frozenset(trigger.kind for trigger in function.triggers)
        self._is_durable = function.durability is not None
        self.denied = 0

    def wrap(self, handler: Handler) -> Handler:
        """Return a handler that runs what is allowed, and answers the rest with AccessDenied."""

        def run(invocation: Invocation) -> Awaitable[Result]:
            reason = self.find_denial(invocation)
            return handler(invocation) if reason is None else self._refuse(invocation, reason)

        return run

    def find_denial(self, invocation: Invocation) -> str | None:
        """Return why an invocation is refused; None if it is allowed."""
        if self._is_event(invocation):
            return self._find_unlisted(invocation) if self._policy.callers else None
        if invocation.http is not None or invocation.trigger in self._kinds:
            return None
        if self._is_durable and invocation.trigger == DURABLE and invocation.type in CONTINUATIONS:
            return None
        service, _, _ = invocation.caller.partition(".")
        if self._policy.access == PRIVATE and service != self._service:
            return f"its access is private, so only functions of {self._service!r} may"
        return self._find_unlisted(invocation) if self._policy.callers else None

    def _is_event(self, invocation: Invocation) -> bool:
        return (
            _EVENT in self._kinds
            and bool(invocation.type)
            and invocation.trigger in {_EVENT, _RECORD}
        )

    def _find_unlisted(self, invocation: Invocation) -> str | None:
        # What a function does for somebody is done by the function: an identity that is carried on
        # counts for whoever called first, and for no other hop.
        name = invocation.caller or decode_identity(invocation.principal).principal
        if name and self._policy.lists(name):
            return None
        return f"its callers are {', '.join(self._policy.callers)}"

    async def _refuse(self, invocation: Invocation, reason: str) -> Result:
        self.denied += 1
        identity = decode_identity(invocation.principal).principal
        who = invocation.caller or identity or _NOBODY
        what = "fire" if self._is_event(invocation) else "call"
        denial = AccessDenied(f"{who} may not {what} {self._name}: {reason}")
        _log.warning("refused invocation %s: %s", invocation.id, denial)
        return Result(b"", error=denial)
