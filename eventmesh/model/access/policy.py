"""Who may call a function by its name: what its options `access` and `callers` say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args

from eventmesh.model.errors import DeclarationError
from eventmesh.model.value import value

Access: TypeAlias = Literal["public", "mesh", "private"]
"""Who may call by name: everyone, everyone in the mesh, or functions of the same service."""

MESH: Final = "mesh"
PRIVATE: Final = "private"

_FUNCTION: Final = re.compile(r"[A-Za-z0-9_*-]+\.[A-Za-z0-9_*]+")
_IDENTITY: Final = re.compile(r"[a-z]+:\S+")
_ADVICE: Final = "write functions, such as 'orders.place' or 'orders.*', or identities: 'token:ci'"


@value
class CallPolicy:
    """Who may call one function by its name.

    What the function itself refuses is what "private" and `callers` keep out. "public" and "mesh"
    differ at the door alone: there, the APIs ask callers of a public function for no scope.

    `callers` are patterns of functions and identities, in which "*" stands for any text; without
    any, all those may call whom `access` lets.
    """

    access: Access = MESH
    callers: tuple[str, ...] = ()

    @property
    def refuses(self) -> bool:
        """Whether it keeps anybody out who is in the mesh."""
        return self.access == PRIVATE or bool(self.callers)

    def lists(self, name: str) -> bool:
        """Whether one of `callers` fits the name of a function, or of an identity."""
        return any(_fits(pattern, name) for pattern in self.callers)


EVERYONE_IN_THE_MESH: Final = CallPolicy()


def read_policy(access: Any, callers: Any, full_name: str) -> CallPolicy:
    """Check the options of a function. Raises DeclarationError, with advice."""
    given: Sequence[Any] = () if isinstance(callers, str) or callers is None else tuple(callers)
    if isinstance(callers, str):
        raise DeclarationError(f"{full_name}: callers={callers!r} is a text: write [{callers!r}]")
    for why in _problems(access, given, full_name.partition(".")[0]):
        raise DeclarationError(f"{full_name}: {why}")
    return CallPolicy(access, tuple(given))


def _problems(access: Any, callers: Sequence[Any], service: str) -> Iterator[str]:
    if access not in get_args(Access):
        yield f"access={access!r}: choose 'public', 'mesh' or 'private'"
    for pattern in callers:
        if not isinstance(pattern, str) or not (
            _FUNCTION.fullmatch(pattern) or _IDENTITY.fullmatch(pattern)
        ):
            yield f"callers has {pattern!r}: {_ADVICE}"
        elif access == PRIVATE and not _is_of(service, pattern):
            yield (
                f"callers has {pattern!r}, whom access='private' keeps out: only functions of "
                f"{service!r} may call it. Remove one of the two"
            )


def _is_of(service: str, pattern: str) -> bool:
    """Whether a function of the service may fit the pattern."""
    return ":" not in pattern and _fits(pattern.partition(".")[0], service)


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name) is not None
