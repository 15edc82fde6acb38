"""What holds of every execution, whatever is done to it, in whatever order."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventmesh.durable.changes import Resume
from eventmesh.durable.errors import DurableError
from eventmesh.durable.operation import ErrorObject, OperationUpdate
from eventmesh.durable.outcomes import end_call, fail_callback, keep_callback, succeed_callback
from eventmesh.durable.transition import Transition
from tests.unit.durable.executions import Run

ERROR = ErrorObject("no", "Error")
IDS = st.sampled_from(["a", "b", "c"])
UPDATES = st.builds(
    OperationUpdate,
    IDS,
    st.sampled_from(["CONTEXT", "STEP", "WAIT", "CALLBACK", "CHAINED_INVOKE"]),
    st.sampled_from(["START", "SUCCEED", "FAIL", "RETRY", "CANCEL"]),
    parent=st.sampled_from(["", "a"]),
    duration=st.integers(1, 50),
    next_attempt_delay=st.integers(1, 50),
    timeout=st.integers(0, 50),
    heartbeat_timeout=st.integers(0, 50),
    function=st.just("ship"),
)
# The name of a method of `Run`, and its arguments.
ACTS: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.just(("begin",)),
    st.tuples(st.just("checkpoint"), UPDATES),
    st.just(("finish",)),
    st.just(("finish", "SUCCEEDED", "1")),
    st.just(("finish", "FAILED", None, ERROR)),
    st.just(("fail", ERROR)),
    st.tuples(st.just("wait"), st.integers(0, 40)),
    st.tuples(st.just("complete"), st.just(succeed_callback), IDS, st.just("1")),
    st.tuples(st.just("complete"), st.just(fail_callback), IDS, st.just(ERROR)),
    st.tuples(st.just("complete"), st.just(keep_callback), IDS),
    st.tuples(st.just("do"), st.just(end_call), IDS, st.just("SUCCEEDED"), st.just("1")),
    st.just(("do", Transition.pause)),
    st.just(("do", Transition.resume)),
)


@given(st.lists(ACTS, max_size=40))
def test_nothing_that_ended_changes_and_nobody_waits_for_ever(
    acts: list[tuple[Any, ...]],
) -> None:
    run = Run(timeout=10_000)
    asked = [1]
    for method, *arguments in acts:
        before = dict(run.execution.operations)
        ended = run.execution.is_ended
        saved, history = deepcopy(run.execution), list(run.history)
        length = len(run.history)
        try:
            getattr(run, method)(*arguments)
        except DurableError:
            # Who is refused drops what it has, and loads it again.
            run.execution, run.history = saved, history
            continue
        asked += [command.turn for command in run.commands if isinstance(command, Resume)]
        run.changes.commands.clear()
        check(run, before)
        if ended:
            # The invocation that ran may still end, and nothing else is recorded.
            assert set(run.events[length:]) <= {"InvocationCompleted"}
    assert asked == list(range(1, len(asked) + 1))


def check(run: Run, before: dict[str, Any]) -> None:
    execution = run.execution
    assert [event.id for event in run.history] == list(range(1, len(run.history) + 1))
    for id, operation in before.items():
        if operation.is_ended:
            assert execution.operations[id] == operation
    # Whoever waits is woken: by the code that runs, a turn that was asked for, time, or others.
    assert (
        execution.is_ended
        or execution.running
        or execution.requested
        or execution.paused is not None
        or execution.waits
    )
