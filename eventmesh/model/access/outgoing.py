"""What a service may call and emit, as its code declares it: `Service(calls=[…], emits=[…])`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from typing import Any, Final

from eventmesh.model.errors import AccessDenied, DeclarationError
from eventmesh.model.event import check_type
from eventmesh.model.topology import (
    EVENT_SCHEME,
    QUEUE_SCHEME,
    check_function,
    check_queue,
    check_service,
)
from eventmesh.model.value import value

ALL_OF: Final = ".*"
"""Behind the name of a service: all its functions."""


@value
class Outgoing:
    """What the functions of `service` may invoke, send to and emit; None leaves it open.

    `calls` has names of functions, "service.*" and "queue:NAME", `emits` has types of events. The
    functions of a service may always call each other.
    """

    service: str
    calls: tuple[str, ...] | None = None
    emits: tuple[str, ...] | None = None
    _allowed: set[str] = field(default_factory=set[str], init=False, repr=False, compare=False)
    """The destinations that were found to be allowed, at most MAX_KNOWN."""

    def check_call(self, destination: str) -> None:
        """Raise AccessDenied for a function or a queue that the code does not name."""
        if self.calls is None or destination in self._allowed:
            return
        service, _, _ = destination.partition(".")
        if (
            destination not in self.calls
            and service != self.service
            and f"{service}{ALL_OF}" not in self.calls
        ):
            raise AccessDenied(
                f"the service {self.service!r} may not call {destination!r}: its code does not say "
                f"that it does; add it to Service({self.service!r}, calls=[…])"
            )
        if len(self._allowed) < MAX_KNOWN:
            self._allowed.add(destination)

    def check_emit(self, type: str) -> None:
        """Raise AccessDenied for an event of a type that the code does not name."""
        if self.emits is not None and type not in self.emits:
            raise AccessDenied(
                f"the service {self.service!r} may not emit {type!r}: its code does not say that "
                f"it does; add it to Service({self.service!r}, emits=[…])"
            )


MAX_KNOWN: Final = 1_000


def read_calls(service: str, given: Sequence[Any] | None) -> tuple[str, ...] | None:
    """Check `calls=`: functions, their names, "service.*" and "queue:NAME".

    Raises DeclarationError, with advice.
    """
    if given is None:
        return None
    _check_list("calls", service, given)
    return tuple(dict.fromkeys(_read_call(service, each) for each in given))


def _read_call(service: str, given: Any) -> str:
    name = given if isinstance(given, str) else getattr(given, "full_name", None)
    if not isinstance(name, str):
        raise DeclarationError(
            f"Service({service!r}, calls=…) has {given!r}: write functions, their names "
            "'service.function', 'service.*' for all of a service, or 'queue:NAME'"
        )
    if name.startswith(EVENT_SCHEME):
        raise DeclarationError(
            f"Service({service!r}, calls=…) has {name!r}: list the types of events in emits=[…]"
        )
    if name.startswith(QUEUE_SCHEME):
        check_queue(name.removeprefix(QUEUE_SCHEME))
    elif name.endswith(ALL_OF):
        check_service(name.removesuffix(ALL_OF))
    else:
        check_function(name)
    return name


def read_emits(service: str, given: Sequence[Any] | None) -> tuple[str, ...] | None:
    """Check `emits=`: types of events, without wildcards. Raises DeclarationError, with advice."""
    if given is None:
        return None
    _check_list("emits", service, given)
    for type in given:
        if not isinstance(type, str) or _WILDCARD.search(type):
            raise DeclarationError(
                f"Service({service!r}, emits=…) has {type!r}: write each type of event, such as "
                "'order.placed', without wildcards"
            )
        check_type(type)
    return tuple(dict.fromkeys(given))


_WILDCARD: Final = re.compile(r"[*#]")


def _check_list(option: str, service: str, given: Any) -> None:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise DeclarationError(
            f"Service({service!r}, {option}={given!r}) is no list: write {option}=[…]"
        )
