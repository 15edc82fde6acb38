"""Event-driven microservices from plain Python functions.

Everything a user of the library needs is named here. The names are looked up when they are first
used, so that `import eventmesh` costs next to nothing and loads neither a broker nor a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventmesh.client import Client
    from eventmesh.engine.binding.markers import Body, Header, Path, Query
    from eventmesh.engine.context import Context
    from eventmesh.engine.function import Function
    from eventmesh.executions.context import Callback, DurableContext
    from eventmesh.executions.events.expected import ExpectedEvent
    from eventmesh.model.access.cors import Cors
    from eventmesh.model.errors import (
        AccessDenied,
        BrokerUnavailable,
        DeclarationError,
        EventmeshError,
        FunctionError,
        FunctionNotFound,
        InvocationError,
        InvocationTimeout,
        PartialFailure,
        PayloadInvalid,
        PayloadTooLarge,
        Problem,
        Reject,
        RetryLater,
        SettingsError,
        StoreUnavailable,
        Throttled,
        Unauthenticated,
    )
    from eventmesh.model.event import Event
    from eventmesh.model.result import Response
    from eventmesh.model.retry import Retry
    from eventmesh.service import Service
    from eventmesh.triggers import on

_MODULES = {
    "eventmesh.engine.binding.markers": ("Body", "Header", "Path", "Query"),
    "eventmesh.client": ("Client",),
    "eventmesh.engine.context": ("Context",),
    "eventmesh.model.access.cors": ("Cors",),
    "eventmesh.model.errors": (
        "AccessDenied",
        "BrokerUnavailable",
        "DeclarationError",
        "EventmeshError",
        "FunctionError",
        "FunctionNotFound",
        "InvocationError",
        "InvocationTimeout",
        "PartialFailure",
        "PayloadInvalid",
        "PayloadTooLarge",
        "Problem",
        "Reject",
        "RetryLater",
        "SettingsError",
        "StoreUnavailable",
        "Throttled",
        "Unauthenticated",
    ),
    "eventmesh.model.event": ("Event",),
    "eventmesh.engine.function": ("Function",),
    "eventmesh.executions.context": ("Callback", "DurableContext"),
    "eventmesh.executions.events.expected": ("ExpectedEvent",),
    "eventmesh.model.retry": ("Retry",),
    "eventmesh.model.result": ("Response",),
    "eventmesh.service": ("Service",),
    "eventmesh.triggers": ("on",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AccessDenied",
    "Body",
    "BrokerUnavailable",
    "Callback",
    "Client",
    "Context",
    "Cors",
    "DeclarationError",
    "DurableContext",
    "Event",
    "EventmeshError",
    "ExpectedEvent",
    "Function",
    "FunctionError",
    "FunctionNotFound",
    "Header",
    "InvocationError",
    "InvocationTimeout",
    "PartialFailure",
    "Path",
    "PayloadInvalid",
    "PayloadTooLarge",
    "Problem",
    "Query",
    "Reject",
    "Response",
    "Retry",
    "RetryLater",
    "Service",
    "SettingsError",
    "StoreUnavailable",
    "Throttled",
    "Unauthenticated",
    "on",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'eventmesh' has no attribute {name!r}")
    found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
