import asyncio
import logging

import pytest
from opentelemetry import trace

from eventmesh.middleware.logging import InvocationFields, log_invocations
from eventmesh.model.errors import (
    FunctionError,
    InvocationTimeout,
    PartialFailure,
    PayloadInvalid,
    Problem,
    Reject,
    RetryLater,
)
from eventmesh.model.invocation import Batch
from eventmesh.model.result import Result, close_stream

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def records():
    """The records of all loggers, from INFO on, with what `InvocationFields` adds to them."""
    collected = []
    handler = logging.Handler()
    handler.emit = collected.append
    handler.addFilter(InvocationFields())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield collected
    root.setLevel(level)
    root.removeHandler(handler)


def ends_with(error=None, **fields):
    async def handler(invocation):
        return Result(error=error, **fields)

    return handler


def streams(*items, error=None):
    async def generate():
        for item in items:
            logging.getLogger("app").info("item %s", item)
            yield item
        if error is not None:
            raise error

    async def handler(invocation):
        return Result(stream=generate())

    return handler


async def test_a_success_is_one_line_with_its_fields(clock, invocation, records):
    async def handler(invocation):
        await clock.advance(0.25)
        return Result()

    await log_invocations(clock)(handler)(invocation(attempt=2, trigger="http"))
    (record,) = records
    assert record.name == "eventmesh.invocations"
    assert record.levelno == logging.INFO
    assert record.getMessage() == "orders.place: success in 250.0 ms"
    assert (
        vars(record).items()
        >= {
            "invocation_id": "4fd0",
            "correlation_id": "4fd0",
            "function": "orders.place",
            "attempt": 2,
            "trigger": "http",
            "outcome": "success",
            "duration_ms": 250.0,
        }.items()
    )
    assert not hasattr(record, "error")


async def test_an_exception_of_the_handler_is_an_error_with_its_traceback(
    clock, invocation, records
):
    error = FunctionError("ValueError", "no such card", "Traceback …\nValueError: no such card\n")
    await log_invocations(clock)(ends_with(error))(invocation())
    (record,) = records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "orders.place: function_error in 0.0 ms: ValueError: no such card"
    )
    assert (record.error_type, record.error) == ("ValueError", "ValueError: no such card")
    text = logging.Formatter("%(message)s").format(record)
    assert text.endswith("no such card\nTraceback …\nValueError: no such card")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvocationTimeout("too slow"), (logging.WARNING, "timeout")),
        (PayloadInvalid("the payload does not fit"), (logging.WARNING, "payload_invalid")),
        (RetryLater(5), (logging.WARNING, "retry_later")),
        (Reject("no such account"), (logging.WARNING, "reject")),
        (Problem(503, "closed"), (logging.WARNING, "problem")),
        (Problem(404, "no such order"), (logging.INFO, "problem")),
    ],
)
async def test_other_failures_by_their_kind(clock, invocation, records, error, expected):
    await log_invocations(clock)(ends_with(error))(invocation())
    (record,) = records
    assert (record.levelno, record.outcome) == expected
    assert (record.error_type, record.error) == (record.outcome, str(error))
    assert record.getMessage().endswith(str(error))


async def test_a_batch_of_which_items_failed_has_the_traceback_of_the_first(
    clock, invocation, records
):
    failures = {0: Reject(), 2: FunctionError("ValueError", "a", "one"), 3: FunctionError("b", "")}
    await log_invocations(clock)(ends_with(failures=failures))(invocation(batch=Batch([b"1"] * 4)))
    (record,) = records
    assert (record.levelno, record.outcome) == (logging.WARNING, "partial_failure")
    assert record.getMessage().endswith(str(PartialFailure(failures)))
    assert record.exc_text == "one"


async def test_a_cancellation_is_logged_and_goes_on(clock, invocation, records):
    async def handler(invocation):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await log_invocations(clock)(handler)(invocation())
    (record,) = records
    assert (record.levelno, record.outcome) == (logging.INFO, "cancelled")
    assert not hasattr(record, "error")


async def test_nothing_is_logged_below_the_level(clock, invocation, records):
    logging.getLogger().setLevel(logging.WARNING)
    await log_invocations(clock)(ends_with())(invocation())
    await log_invocations(clock)(ends_with(InvocationTimeout("too slow")))(invocation())
    assert [record.levelname for record in records] == ["WARNING"]


async def test_neither_payload_nor_headers_are_logged(clock, invocation, records):
    secret = invocation(payload=b'"4111 1111"', headers={"authorization": "Bearer 4111"})
    await log_invocations(clock)(ends_with(PayloadInvalid("the payload does not fit")))(secret)
    assert "4111" not in str(vars(records[0]))


async def test_what_the_handler_logs_carries_its_invocation(clock, invocation, records):
    def in_a_thread():
        logging.getLogger("app").info("from a thread", extra={"trigger": "its own"})

    async def handler(invocation):
        await asyncio.to_thread(in_a_thread)
        logging.getLogger("app").info("from the loop")
        return Result()

    await log_invocations(clock)(handler)(invocation(attempt=2))
    logging.getLogger("app").info("afterwards")
    thread, loop, _, afterwards = records
    assert (thread.invocation_id, thread.function, thread.attempt) == ("4fd0", "orders.place", 2)
    assert (thread.trigger, loop.trigger) == ("its own", "invoke")
    assert not hasattr(afterwards, "invocation_id")


async def test_an_invocation_within_another_gives_its_place_back(clock, invocation, records):
    async def outer(_):
        await log_invocations(clock)(ends_with())(invocation(id="inner"))
        logging.getLogger("app").info("outer again")
        return Result()

    await log_invocations(clock)(outer)(invocation(id="outer"))
    assert [record.invocation_id for record in records] == ["inner", "outer", "outer"]


@pytest.mark.parametrize("header", [TRACEPARENT, "00-zz-b7ad6b7169203331-01", ""])
async def test_the_trace_of_the_headers(clock, invocation, records, header):
    await log_invocations(clock)(ends_with())(invocation(headers={"traceparent": header}))
    expected = "0af7651916cd43dd8448eb211c80319c" if header == TRACEPARENT else None
    assert getattr(records[0], "trace_id", None) == expected


async def test_the_current_span_goes_before_the_headers(clock, invocation, records):
    span = trace.NonRecordingSpan(trace.SpanContext(0xABC, 0xDEF, is_remote=False))
    with trace.use_span(span):
        await log_invocations(clock)(ends_with())(invocation(headers={"traceparent": TRACEPARENT}))
    assert records[0].trace_id == f"{0xABC:032x}"
    assert records[0].span_id == f"{0xDEF:016x}"


async def test_a_stream_is_logged_at_its_end(clock, invocation, records):
    result = await log_invocations(clock)(streams(b"1", b"2"))(invocation())
    assert records == []
    async for _ in result.stream:
        await clock.advance(0.5)
    first, second, ended = records
    assert (first.invocation_id, second.invocation_id) == ("4fd0", "4fd0")
    assert (ended.outcome, ended.duration_ms) == ("success", 1000.0)


async def test_a_stream_that_fails_is_logged_as_a_failure(clock, invocation, records):
    handler = streams(error=FunctionError("ValueError", "boom", "Traceback"))
    result = await log_invocations(clock)(handler)(invocation())
    with pytest.raises(FunctionError):
        await anext(result.stream)
    (record,) = records
    assert (record.levelno, record.error) == (logging.ERROR, "ValueError: boom")


@pytest.mark.parametrize("read", [0, 1])
async def test_a_stream_that_is_closed_early_is_logged_once_as_cancelled(
    clock, invocation, records, read
):
    result = await log_invocations(clock)(streams(b"1", b"2"))(invocation())
    for _ in range(read):
        await anext(result.stream)
    await close_stream(result.stream)
    await close_stream(result.stream)
    assert [record.outcome for record in records[read:]] == ["cancelled"]
