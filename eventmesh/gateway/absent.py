"""The routes of services of which no process runs now: who asks for one is told to retry later."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from eventmesh.aio.clock import Clock
from eventmesh.gateway.catalogue import RemoteRoute
from eventmesh.model.value import value

REMEMBER_SECONDS: Final = 600.0
"""For how long: twice the longest pause that Kubernetes makes before it starts a container again
(https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy)."""

MAX_ROUTES: Final = 5_000
MAX_CHARACTERS: Final = 4 * 1024 * 1024
"""How many are remembered, and of how much text in all; beyond it the oldest are forgotten."""


@value
class _Absent:
    remote: RemoteRoute
    until: float
    characters: int


class AbsentRoutes:
    """Remembers the routes that were served last, of the services that are gone.

    A service that is back without a route has given it up: that is forgotten at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._absent: dict[tuple[str, str], _Absent] = {}
        self._characters = 0

    @property
    def routes(self) -> Sequence[RemoteRoute]:
        """The routes, the one that is gone for longest first."""
        return [each.remote for each in self._absent.values()]

    def update(
        self, before: Iterable[RemoteRoute], now: Iterable[RemoteRoute], services: Collection[str]
    ) -> None:
        """Take note of which routes were served before and are now, and of who runs now."""
        served = {_key(remote) for remote in now}
        for key, each in list(self._absent.items()):
            if key in served or each.remote.service in services:
                self._drop(key)
        for remote in before:
            key = _key(remote)
            known = key in served or key in self._absent
            if not known and remote.service not in services:
                self._add(remote)
        while len(self._absent) > MAX_ROUTES or self._characters > MAX_CHARACTERS:
            self._drop(next(iter(self._absent)))

    def forget(self) -> bool:
        """Drop what is gone for longer than `REMEMBER_SECONDS`; return whether anything was."""
        now = self._clock.monotonic()
        old = [key for key, each in self._absent.items() if each.until <= now]
        for key in old:
            self._drop(key)
        return bool(old)

    def _add(self, remote: RemoteRoute) -> None:
        characters = len(remote.route.path) + (0 if remote.cors is None else len(str(remote.cors)))
        until = self._clock.monotonic() + REMEMBER_SECONDS
        self._absent[_key(remote)] = _Absent(remote, until, characters)
        self._characters += characters

    def _drop(self, key: tuple[str, str]) -> None:
        self._characters -= self._absent.pop(key).characters


def _key(remote: RemoteRoute) -> tuple[str, str]:
    return remote.route.method, remote.route.path
