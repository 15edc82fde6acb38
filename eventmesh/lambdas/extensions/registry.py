"""The Extensions API: which extensions an instance has, and what each is told.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html, version 2020-01-01.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

import orjson

from eventmesh.executions.aws.names import ACCOUNT
from eventmesh.lambdas.api.server import ACCEPTED, Answer, Reply, Request, json_answer, refusal
from eventmesh.lambdas.function import LambdaFunction
from eventmesh.lambdas.log import VERSION
from eventmesh.lambdas.results import read_error
from eventmesh.model.errors import FunctionError

ROOT: Final = "/2020-01-01/extension/"
MAX_EXTENSIONS: Final = 10
"""As on AWS Lambda (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
INVOKE: Final = "INVOKE"
SHUTDOWN: Final = "SHUTDOWN"

_NAME: Final = "lambda-extension-name"
_ID: Final = "lambda-extension-identifier"
_ERROR_TYPE: Final = "lambda-extension-function-error-type"


class Extension:
    """One that has registered. `busy` is from an event to its question for the next one."""

    def __init__(self, name: str, events: frozenset[str], *, external: bool) -> None:
        self.name = name
        self.id = str(uuid4())
        self.events = events
        self.external = external
        self.reply: Reply | None = None
        self.busy = True
        self.queued: Answer | None = None
        """An event that came before its question."""


class Extensions:
    """The extensions of one instance."""

    def __init__(
        self,
        function: LambdaFunction,
        names: Sequence[str],
        *,
        on_change: Callable[[], object],
        on_register: Callable[[Extension], object],
        on_error: Callable[[FunctionError], object],
    ) -> None:
        """`names` are those that the instance starts itself, which must register.

        `on_change` is called when one has registered, or asks for its next event, and `on_error`
        when one says that it cannot go on.
        """
        self._function = function
        self._missing = set(names)
        self._external = frozenset(names)
        self._on_change = on_change
        self._on_register = on_register
        self._on_error = on_error
        self._known: dict[str, Extension] = {}
        self.is_open = True
        """Whether more may register: while the instance starts."""

    def __len__(self) -> int:
        return len(self._known)

    @property
    def have_registered(self) -> bool:
        """Whether all have that the instance starts itself."""
        return not self._missing

    @property
    def are_idle(self) -> bool:
        """Whether all have registered, and wait for their next event."""
        return not self._missing and not any(each.busy for each in self._known.values())

    @property
    def has_external(self) -> bool:
        return any(each.external for each in self._known.values())

    def find(self, request: Request) -> Extension | None:
        """Return who sent a request."""
        return self._known.get(request.headers.get(_ID, ""))

    def answer(self, request: Request, reply: Reply) -> None:
        """Do what a request below `ROOT` asks for."""
        match (request.method, *request.path.removeprefix(ROOT).split("/")):
            case ("POST", "register"):
                reply.send(self._register(request))
                self._on_change()
            case ("GET", "event", "next"):
                self._take_next(request, reply)
            case ("POST", ("init" | "exit") as phase, "error"):
                reply.send(self._take_error(request, phase))
            case _:
                what = f"there is no {request.method} {request.path}"
                reply.send(refusal(404, "NotFound", what))

    def _register(self, request: Request) -> Answer:
        name = request.headers.get(_NAME, "")
        events = _read_events(request.body)
        why = self._find_refusal(name, events)
        if why is not None:
            return why
        external = name in self._external
        extension = Extension(name, events or frozenset(), external=external)
        self._known[extension.id] = extension
        self._missing.discard(name)
        self._on_register(extension)
        content = {
            "functionName": self._function.full_name,
            "functionVersion": VERSION,
            "handler": self._function.handler,
        }
        if "accountid" in request.headers.get("lambda-extension-accept-feature", "").lower():
            content["accountId"] = ACCOUNT
        return json_answer(200, content, [("Lambda-Extension-Identifier", extension.id)])

    def _find_refusal(  # noqa: PLR0911 one for each reason
        self, name: str, events: frozenset[str] | None
    ) -> Answer | None:
        if not name or len(name) > 128 or not name.isprintable():  # noqa: PLR2004
            return refusal(400, "Extension.InvalidExtensionName", "it has no name")
        if events is None or not events <= {INVOKE, SHUTDOWN}:
            return refusal(400, "Extension.InvalidEventType", "events are INVOKE and SHUTDOWN")
        if any(each.name == name for each in self._known.values()):
            return refusal(403, "Extension.AlreadyRegistered", f"{name} has registered")
        if not self.is_open:
            return refusal(403, "Extension.RegistrationClosed", "the function has started")
        if len(self._known) >= MAX_EXTENSIONS:
            most = f"a function has {MAX_EXTENSIONS} extensions at most"
            return refusal(403, "Extension.TooManyExtensions", most)
        if SHUTDOWN in events and name not in self._external:
            told = "an internal extension gets no SHUTDOWN: the runtime gets a SIGTERM"
            return refusal(403, "ShutdownEventNotSupportedForInternalExtension", told)
        if INVOKE in events and self._function.spec.instance_concurrency > 1:
            told = "an instance that runs several invocations at once has no INVOKE events"
            return refusal(403, "InvokeEventNotSupported", told)
        return None

    def _take_next(self, request: Request, reply: Reply) -> None:
        extension = self.find(request)
        if extension is None:
            reply.send(_unknown())
            return
        if extension.queued is not None:
            answer, extension.queued = extension.queued, None
            reply.send(answer)
            return
        extension.reply = reply
        extension.busy = False
        self._on_change()

    def _take_error(self, request: Request, phase: str) -> Answer:
        extension = self.find(request)
        if extension is None:
            return _unknown()
        kind = request.headers.get(_ERROR_TYPE, "")
        error = read_error(request.body, kind or f"Extension.{phase.capitalize()}Error")
        self._on_error(error)
        return ACCEPTED

    def invoke(self, event: Mapping[str, Any]) -> None:
        """Tell those that want it of an invocation that begins."""
        for extension in self._known.values():
            if INVOKE in extension.events:
                self._send(extension, {"eventType": INVOKE, **event})

    def shut_down(self, reason: str, deadline_ms: int) -> None:
        """Tell those that want it that the instance ends."""
        event = {"eventType": SHUTDOWN, "shutdownReason": reason, "deadlineMs": deadline_ms}
        for extension in self._known.values():
            if SHUTDOWN in extension.events:
                self._send(extension, event)

    def _send(self, extension: Extension, event: Mapping[str, Any]) -> None:
        answer = json_answer(200, event, [("Lambda-Extension-Event-Identifier", str(uuid4()))])
        reply, extension.reply = extension.reply, None
        extension.busy = True
        if reply is None or not reply.is_open:
            extension.queued = answer
        else:
            reply.send(answer)


def _read_events(body: bytes) -> frozenset[str] | None:
    try:
        parsed: Any = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        return None
    fields = cast(dict[str, Any], parsed) if isinstance(parsed, dict) else {}
    events = fields.get("events", [])
    if not isinstance(events, list):
        return None
    return frozenset(str(each) for each in events)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _unknown() -> Answer:
    return refusal(403, "Extension.UnknownExtensionIdentifier", "it has not registered")
