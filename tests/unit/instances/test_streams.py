"""The stream of a handler in an instance, when its process ends while nobody reads."""

import asyncio

import pytest

from eventmesh.instances.instance import _Stream
from eventmesh.instances.lifecycle import Run
from eventmesh.model.errors import FunctionError
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result


class Gone:
    """An instance whose process has ended: it answers nothing."""

    def ask_next(self, number):
        del number


async def test_a_stream_whose_process_has_ended_says_so():
    run = Run(Invocation("s.f", "1", b"", 0.0))
    stream = _Stream(Gone(), 1, run)
    run.result.set_result(Result(stream=stream))
    run.fail(FunctionError("Runtime.ExitError", "it has ended"))
    async with asyncio.timeout(60):
        with pytest.raises(FunctionError, match="it has ended"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
