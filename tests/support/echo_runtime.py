"""A runtime of another package: it says what it was to run, in place of running it."""

import asyncio
import json
from contextlib import asynccontextmanager

from eventmesh.model.errors import FunctionError
from eventmesh.model.result import Result


class Echo:
    """Answers with each invocation as it came; `failing` attempts of a function fail before."""

    def __init__(self):
        recent.append(self)
        self.opened = []
        self.failing = {}
        self.attempts = []
        self.batches = []
        self.busy = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()

    @asynccontextmanager
    async def open(self, function, environment):
        name = function.spec.full_name
        assert environment.clock.now() >= 0

        async def handle(invocation):
            self.busy.set()
            await self.release.wait()
            return self._answer(name, invocation)

        self.opened.append(name)
        yield handle
        self.opened.remove(name)

    def _answer(self, name, invocation):
        self.attempts.append(invocation.attempt)
        error = FunctionError("Echo", "not yet")
        if invocation.batch is not None:
            self.batches.append(list(invocation.batch.bodies))
            bad = [n for n, body in enumerate(invocation.batch.bodies) if body == b'"bad"']
            return Result(failures=dict.fromkeys(bad, error) or None)
        if invocation.attempt <= self.failing.get(name, 0):
            return Result(b"", error=error)
        http = invocation.http
        seen = {
            "function": name,
            "payload": invocation.payload.decode(),
            "route": http and [http.route.key, dict(http.path)],
        }
        return Result(json.dumps(seen).encode())


recent: list[Echo] = []
"""The runtimes that were made, the latest last."""
