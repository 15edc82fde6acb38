"""What packages are made of that add a trigger, a middleware, a runtime or a broker.

docs/extending.md shows how. Users of the library need none of these names: theirs are in
`eventmesh`, and so are the errors. The names are looked up when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventmesh.abc import (
        Broker,
        BrokerAdapter,
        BrokerInspector,
        Delivery,
        Handler,
        Lease,
        Middleware,
        Slots,
        Subscription,
        Transport,
    )
    from eventmesh.aio.clock import Clock, TimerHandle, sleep
    from eventmesh.aio.tasks import background_task, task_group
    from eventmesh.deliveries.consume import BatchConsumerSpec, ConsumerSpec, run_consumers
    from eventmesh.deliveries.inbox import build_consumer_spec
    from eventmesh.engine.binding import (
        HttpBinding,
        HttpField,
        Parameter,
        Payload,
        Signature,
        compile_signature,
    )
    from eventmesh.engine.codecs.json import encode
    from eventmesh.engine.runtimes.failures import failure_from
    from eventmesh.engine.runtimes.invoker import build_handler
    from eventmesh.engine.runtimes.registry import load_runtime
    from eventmesh.engine.spec import (
        Batching,
        Environment,
        FunctionSpec,
        Implementation,
        Runtime,
        Schema,
        SourceContext,
        Trigger,
    )
    from eventmesh.model.broker import BrokerCommands, BrokerInfo, LostMessages, QueueInfo
    from eventmesh.model.duration import Duration, seconds
    from eventmesh.model.event import event_headers
    from eventmesh.model.ids import new_id
    from eventmesh.model.invocation import Batch, HttpRequest, Invocation, RouteTemplate
    from eventmesh.model.limits import Limits
    from eventmesh.model.message import Message, check_size
    from eventmesh.model.result import Failure, Result
    from eventmesh.model.settings import Settings
    from eventmesh.model.topology import (
        Binding,
        Queue,
        Route,
        dead_letters,
        inbox,
        named,
        to_function,
        to_queue,
    )

_MODULES = {
    "eventmesh.abc": (
        "Broker",
        "BrokerAdapter",
        "BrokerInspector",
        "Delivery",
        "Handler",
        "Lease",
        "Middleware",
        "Slots",
        "Subscription",
        "Transport",
    ),
    "eventmesh.aio.clock": (
        "Clock",
        "TimerHandle",
        "sleep",
    ),
    "eventmesh.aio.tasks": (
        "background_task",
        "task_group",
    ),
    "eventmesh.deliveries.consume": (
        "BatchConsumerSpec",
        "ConsumerSpec",
        "run_consumers",
    ),
    "eventmesh.deliveries.inbox": ("build_consumer_spec",),
    "eventmesh.engine.binding": (
        "HttpBinding",
        "HttpField",
        "Parameter",
        "Payload",
        "Signature",
        "compile_signature",
    ),
    "eventmesh.engine.codecs.json": ("encode",),
    "eventmesh.engine.runtimes.failures": ("failure_from",),
    "eventmesh.engine.runtimes.invoker": ("build_handler",),
    "eventmesh.engine.runtimes.registry": ("load_runtime",),
    "eventmesh.engine.spec": (
        "Batching",
        "Environment",
        "FunctionSpec",
        "Implementation",
        "Runtime",
        "Schema",
        "SourceContext",
        "Trigger",
    ),
    "eventmesh.model.broker": (
        "BrokerCommands",
        "BrokerInfo",
        "LostMessages",
        "QueueInfo",
    ),
    "eventmesh.model.duration": (
        "Duration",
        "seconds",
    ),
    "eventmesh.model.event": ("event_headers",),
    "eventmesh.model.ids": ("new_id",),
    "eventmesh.model.invocation": (
        "Batch",
        "HttpRequest",
        "Invocation",
        "RouteTemplate",
    ),
    "eventmesh.model.limits": ("Limits",),
    "eventmesh.model.message": (
        "Message",
        "check_size",
    ),
    "eventmesh.model.result": (
        "Failure",
        "Result",
    ),
    "eventmesh.model.settings": ("Settings",),
    "eventmesh.model.topology": (
        "Binding",
        "Queue",
        "Route",
        "dead_letters",
        "inbox",
        "named",
        "to_function",
        "to_queue",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Batch",
    "BatchConsumerSpec",
    "Batching",
    "Binding",
    "Broker",
    "BrokerAdapter",
    "BrokerCommands",
    "BrokerInfo",
    "BrokerInspector",
    "Clock",
    "ConsumerSpec",
    "Delivery",
    "Duration",
    "Environment",
    "Failure",
    "FunctionSpec",
    "Handler",
    "HttpBinding",
    "HttpField",
    "HttpRequest",
    "Implementation",
    "Invocation",
    "Lease",
    "Limits",
    "LostMessages",
    "Message",
    "Middleware",
    "Parameter",
    "Payload",
    "Queue",
    "QueueInfo",
    "Result",
    "Route",
    "RouteTemplate",
    "Runtime",
    "Schema",
    "Settings",
    "Signature",
    "Slots",
    "SourceContext",
    "Subscription",
    "TimerHandle",
    "Transport",
    "Trigger",
    "background_task",
    "build_consumer_spec",
    "build_handler",
    "check_size",
    "compile_signature",
    "dead_letters",
    "encode",
    "event_headers",
    "failure_from",
    "inbox",
    "load_runtime",
    "named",
    "new_id",
    "run_consumers",
    "seconds",
    "sleep",
    "task_group",
    "to_function",
    "to_queue",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'eventmesh.ext' has no attribute {name!r}")
    found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
