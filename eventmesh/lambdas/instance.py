"""An instance that runs a Lambda function: it asks for each invocation, and sends its result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from eventmesh.instances.failures import neighbour_error
from eventmesh.instances.lifecycle import Instance, Run, State, Surroundings
from eventmesh.instances.zygote.client import Exit
from eventmesh.lambdas.api.runtime import (
    ERROR_BODY,
    ERROR_TYPE,
    MAX_ERROR,
    ROOT,
    answer_runtime,
    open_response_sink,
)
from eventmesh.lambdas.api.server import (
    ACCEPTED,
    Answer,
    ApiServer,
    Flow,
    Reply,
    Request,
    Sink,
    refusal,
)
from eventmesh.lambdas.durable.api import MAX_BODY, ROOTS, TurnApi
from eventmesh.lambdas.events import build_event
from eventmesh.lambdas.extensions.platform import Platform
from eventmesh.lambdas.failures import (
    dump,
    exited_error,
    response_size_error,
    start_error,
    worker_error,
)
from eventmesh.lambdas.function import LambdaFunction
from eventmesh.lambdas.log import FunctionLog, Report, read_line
from eventmesh.lambdas.owner import find_owner, is_listening, is_running
from eventmesh.lambdas.results import read_error, read_result, read_stream_error
from eventmesh.lambdas.running import Current, build_headers
from eventmesh.lambdas.streams import ResponseStream, StreamedResponse
from eventmesh.model.errors import FunctionError, PayloadTooLarge
from eventmesh.model.result import Failure

_CONTENT_TYPE: Final = "content-type"
_MEBIBYTE: Final = 2**20
_EXIT_TIMEOUT: Final = 0.1
_MAX_EXIT_TIMEOUT: Final = 2.0
"""Seconds until a look whether a process that has closed its connections has ended: at first, and
at most."""


class LambdaInstance(Instance):
    """A process that speaks the Runtime API.

    It runs one invocation at a time, or as many as it asks for at once, up to `concurrency`.
    """

    def __init__(
        self,
        function: LambdaFunction,
        around: Surroundings,
        extensions: Sequence[str] = (),
        durable: TurnApi | None = None,
    ) -> None:
        """`extensions` are the programs that are started before the runtime.

        `durable` is what a durable function records its executions with.
        """
        super().__init__(function.spec, around)
        self._durable = durable
        self._function = function
        self.platform = Platform(
            function,
            extensions,
            around.clock,
            around.tasks,
            is_listening=lambda port: is_listening(self.pid, port),
            on_change=self._advance,
            on_error=self._fail_extension,
        )
        self._log = FunctionLog(function)
        self._waiting: deque[Reply] = deque()
        """Questions for the next invocation that are not answered yet."""
        self._pending: deque[tuple[int, Run]] = deque()
        """Runs that no process of the instance has asked for yet."""
        self._currents: dict[str, Current] = {}
        self._is_alone = function.spec.instance_concurrency == 1
        self._has_workers = not self._is_alone and function.runtime.startswith("python")
        self._port = 0
        self._started = around.clock.monotonic()
        self._init: float | None = None
        self.drain: Callable[[], object] = _nothing

    async def listen(self) -> str:
        """Open its Runtime API, and return the address."""
        self._server = ApiServer(self)
        address = await self._server.open()
        self._port = int(address.rpartition(":")[2])
        self.start_timer()
        self.platform.begin_init()
        return address

    def close(self) -> None:
        self._server.close()

    @property
    def max_response(self) -> int:
        return self._spec.limits.max_payload

    @property
    def max_body(self) -> int:
        recorded = 0 if self._durable is None else MAX_BODY
        return max(self.max_response, MAX_ERROR, recorded)

    def find_owner(self, peer: tuple[str, int]) -> int | None:
        return find_owner(self.pid, peer, self._port)

    def take_loss(self, owner: int) -> None:
        """Take note that a process has closed its connection: a worker that ends does, too."""
        if self._has_workers and any(each.is_with(owner) for each in self._currents.values()):
            self._check_worker_later(owner, _EXIT_TIMEOUT)

    def _check_worker_later(self, owner: int, seconds: float) -> None:
        self._clock.call_later(seconds, lambda: self._check_worker(owner, seconds))

    def _check_worker(self, owner: int, waited: float) -> None:
        """End the instance if one of its workers has ended: awslambdaric starts no other one.

        One that still runs is looked at again: on a busy machine it may end long after its sockets.
        """
        if self.state is State.ENDED:
            return
        if is_running(owner):
            if any(each.is_with(owner) for each in self._currents.values()):
                self._check_worker_later(owner, min(waited * 2, _MAX_EXIT_TIMEOUT))
            return
        for current in list(self._currents.values()):
            if current.is_with(owner):
                error, body = worker_error(current.id)
                self._complete_tail(current, "error")
                current.run.fail(error, body)
        self.kill(neighbour_error(self._spec))

    def take_line(self, line: bytes) -> None:
        """Log a line of output; JSON says itself which run it belongs to, and its level."""
        if self._function.log_format == "JSON" and line.startswith(b"{"):
            id, level = read_line(line)
            current = self._currents.get(id)
            known = None if current is None else current.run.invocation.id
            self.output.log_line(line, known, level)
        else:
            self.output.take_line(line)
        self.platform.take_line(line)

    def take_extension_line(self, line: bytes) -> None:
        """Log a line of output of an extension."""
        self.output.take_line(line)
        self.platform.take_extension_line(line)

    def open_sink(self, request: Request, flow: Flow) -> Sink | None:
        return open_response_sink(self, request, flow)

    def answer(self, request: Request, reply: Reply) -> None:
        if request.path.startswith(ROOT):
            answer_runtime(self, request, reply)
        elif self._durable is not None and request.path.startswith(ROOTS):
            runs = [each.run.invocation for each in self._currents.values() if not each.answered]
            self._tasks.create_task(self._durable.reply(request, reply, runs))
        elif not self.platform.answer(request, reply):
            reply.send(refusal(404, "NotFound", f"there is no {request.path}"))

    def next(self, reply: Reply) -> None:
        """Take a runtime's question for the next invocation: it has ended the one before."""
        self._waiting.append(reply)
        if self._init is None:
            self._init = self._clock.monotonic() - self._started
            self.platform.end_runtime_init()
        if self._is_alone:
            for current in self._currents.values():
                self.platform.end_runtime(current, self._measure(current, current.status))
        self._advance()

    def _advance(self) -> None:
        """Go on once neither the runtime nor an extension is busy."""
        if not self._waiting or (self._is_alone and not self.platform.is_idle):
            return
        if self.state is State.STARTING:
            if not self.platform.is_idle:
                return
            self.platform.end_init(self._clock.monotonic() - self._started)
        if self._is_alone:
            self._end_all()
        self._become_ready()
        self._hand_over()

    def _fail_extension(self, error: FunctionError) -> None:
        """End the instance, one of whose extensions cannot go on."""
        if self.state is State.STARTING:
            self.failure = self.failure or error
        for current in list(self._currents.values()):
            if not current.run.result.done():
                message = f"RequestId: {current.id} Error: {error.message}"
                told = FunctionError(error.type, message, error.traceback)
                current.run.fail(told, dump(error.type, message))
        self.kill()

    def open_stream(self, id: str, headers: Mapping[str, str], flow: Flow) -> Sink | None:
        current = self._find_unanswered(id)
        if current is None or not current.run.invocation.takes_stream:
            return None
        current.answered = True
        content_type = headers.get(_CONTENT_TYPE, "")
        stream = ResponseStream(current.run, flow, self._kill_unread)
        on_end = partial(self._take_end, current)
        return StreamedResponse(current.run, content_type, stream, on_end, self._clock.call_later)

    def respond(self, id: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        current = self._find_unanswered(id)
        if current is None:
            return _unknown(id)
        current.answered = True
        kind = headers.get(ERROR_TYPE, "")
        if kind:  # It began to stream, and failed.
            self._complete_tail(current, "error")
            current.run.fail(read_stream_error(headers.get(ERROR_BODY, ""), kind))
        else:
            self._complete_tail(current)
            content_type = headers.get(_CONTENT_TYPE, "")
            result = read_result(current.run.invocation, body, content_type)
            current.run.result.set_result(result)
        self._end_shared(current)
        return ACCEPTED

    def refuse_response(self, id: str, size: int) -> Answer:
        current = self._find_unanswered(id)
        if current is None:
            return _unknown(id)
        current.answered = True
        limit = self.max_response
        self._complete_tail(current, "error")
        current.run.fail(PayloadTooLarge(size, limit), response_size_error(limit))
        self._end_shared(current)
        message = f"Exceeded maximum allowed payload size ({limit} bytes)."
        return refusal(413, "RequestEntityTooLarge", message)

    def fail(self, id: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        current = self._find_unanswered(id)
        if current is None:
            return _unknown(id)
        current.answered = True
        self._complete_tail(current, "error")
        current.run.fail(read_error(body, headers.get(ERROR_TYPE, "")), body)
        self._end_shared(current)
        return ACCEPTED

    def fail_init(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self.state is not State.STARTING or self.failure is not None:
            # A client with several processes takes it as: another one has told it.
            return refusal(403, "InvalidStateTransition", "the initialisation is over")
        self.failure = read_error(body, headers.get(ERROR_TYPE, ""))
        return ACCEPTED

    def _begin(self, number: int, run: Run) -> None:
        self._pending.append((number, run))
        self._hand_over()

    def _cancel(self, number: int) -> bool:
        del number  # The Runtime API has no way to say it.
        return False

    def _ask_stop(self) -> bool:
        seconds = self.platform.stop()
        if seconds is None:
            return False
        self.terminate_process()
        self._clock.call_later(seconds, self._kill_if_left)
        return True

    def _disconnect(self) -> None:
        self.platform.close()
        self._server.close()

    def _describe_start(self, error: FunctionError, ended: Exit) -> FunctionError:
        return start_error(ended, error)

    def _fail_exited(self, run: Run, reason: Failure, ended: Exit) -> None:
        current = next((each for each in self._currents.values() if each.run is run), None)
        if current is None:
            run.fail(reason)
            return
        body = b""
        if isinstance(reason, FunctionError):
            reason, body = exited_error(current.id, ended, reason)
            self._log.note(f"{reason.message}\n{reason.type}", current)
        is_late = run.abandoned and self._is_late(run)
        status = "timeout" if is_late else "error"
        if not current.answered:
            self._complete_tail(current, status)
        self._end_current(current, status)
        run.fail(reason, body)

    def _is_late(self, run: Run) -> bool:
        deadline = run.invocation.deadline
        return deadline is not None and self._clock.monotonic() >= deadline

    def _find_unanswered(self, id: str) -> Current | None:
        current = self._currents.get(id)
        if current is None or current.answered or current.run.result.done():
            return None
        return current

    def _hand_over(self) -> None:
        while self._waiting and self._pending:
            reply = self._waiting.popleft()
            if not reply.is_open:  # Whoever asked has ended.
                continue
            number, run = self._pending.popleft()
            current = Current(number, run, self._clock.monotonic(), reply.owner)
            if current.id in self._currents:  # One message, twice at once.
                current.id = f"{current.id[:200]}-{number}"
            self._currents[current.id] = current
            self._log.start(current, self._clock.now())
            self.platform.start(current)
            headers = build_headers(current, self._function, self._clock)
            reply.send(Answer(200, build_event(run.invocation), headers))
            self._watch_extensions(current)

    def _watch_extensions(self, current: Current) -> None:
        """End the instance if its extensions go on when the run is out of time."""
        deadline = current.run.invocation.deadline
        if deadline is not None and not self.platform.is_idle:
            left = deadline - self._clock.monotonic()
            self._clock.call_later(max(left, 0.0), lambda: self._kill_if_running(current.number))

    def _kill_unread(self) -> None:
        """End what streams to nobody: the Runtime API has no way to tell it."""
        self.kill(neighbour_error(self._spec))

    def _take_end(self, current: Current) -> None:
        """Take note of the end of a streamed response."""
        if self.state is State.ENDED:
            return
        self._complete_tail(current, current.status)
        self._end_shared(current)

    def _complete_tail(self, current: Current, status: str = "success") -> None:
        """Complete the log that the caller gets who goes on now."""
        self.drain()
        self._log.complete_tail(current, self._measure(current, status), self._clock.now())

    def _end_shared(self, current: Current) -> None:
        """End a run beside others: no question for the next one tells that it has ended."""
        if not self._is_alone:
            self._end_current(current)

    def _end_all(self) -> None:
        for current in list(self._currents.values()):
            self._end_current(current)

    def _end_current(self, current: Current, status: str = "") -> None:
        del self._currents[current.id]
        self.drain()
        report = self._measure(current, status or current.status)
        if status or not self._is_alone:
            self.platform.end_runtime(current, report)
        self._log.report(current, report, self._clock.now())
        self.platform.end(current, report)
        if self.state is State.ENDED:
            return  # Its runs are ended all together.
        if current.number in self._runs and current.run.result.done():
            self._end_run(current.number)

    def _measure(self, current: Current, status: str) -> Report:
        memory = self._spec.isolation and self._spec.isolation.memory
        is_first = current.number == 1 and self._init is not None
        return Report(
            duration=(self._clock.monotonic() - current.began) * 1000,
            memory=(memory or 0) // _MEBIBYTE,
            peak=(self._group.peak() or self.peak) // _MEBIBYTE,
            init=(self._init or 0.0) * 1000 if is_first else None,
            status=status,
        )


def _unknown(id: str) -> Answer:
    return refusal(400, "InvalidRequestID", f"no invocation {id[:100]} is under way")


def _nothing() -> None:
    """Do nothing: it has no output yet."""
