import pytest

from eventmesh.middleware.runs import KEPT, KEPT_DELAYED, SAMPLED, RunLog
from eventmesh.model.errors import FunctionError
from eventmesh.model.runs import MAX_TEXT, MAX_TOLD, Question
from eventmesh.model.trace_context import CORRELATION_ID

ALL = Question("", seconds=1e9, most=MAX_TOLD)


@pytest.fixture
def runs(clock):
    return RunLog(clock)


def run_one(runs, invocation, now, error=None):
    runs.end(runs.begin(invocation, now), now + 0.5, error)


def test_a_run_that_goes_on_is_told_of(runs, invocation, clock):
    number = runs.begin(invocation(attempt=2, caller="shop.buy", trigger="queue"), clock.now())
    (run,) = runs.look("here", ALL).runs
    assert (run.number, run.id, run.function, run.attempt) == (number, "4fd0", "orders.place", 2)
    assert (run.since, run.caller, run.trigger) == (clock.now(), "shop.buy", "queue")
    assert (run.outcome, run.payload) == ("", "")
    runs.end(number, clock.now(), None)
    assert runs.look("here", ALL).runs == ()


def test_how_a_run_ended_is_told(runs, invocation, clock):
    run_one(runs, invocation(), clock.now(), FunctionError("ValueError", "no\nsuch card"))
    (run,) = runs.look("here", ALL).ended
    assert (run.outcome, run.duration) == ("function_error", 0.5)
    assert (run.error_type, run.error) == ("ValueError", "ValueError: no such card")


def test_of_many_successes_a_second_some_are_kept_and_of_failures_all(runs, invocation, clock):
    for _ in range(SAMPLED + 50):
        run_one(runs, invocation(), clock.now())
        run_one(runs, invocation(), clock.now(), FunctionError("ValueError", "no"))
    outcomes = [run.outcome for run in runs.look("here", ALL).ended]
    assert outcomes.count("success") == SAMPLED
    assert outcomes.count("function_error") == SAMPLED + 50


def test_what_is_kept_has_a_bound(runs, invocation, clock):
    for number in range(2 * KEPT):
        run_one(runs, invocation(), clock.now() + number)
        run_one(runs, invocation(), clock.now() + number, FunctionError("ValueError", "no"))
    for number in range(2 * KEPT_DELAYED):
        runs.delay("a.b", f"id-{number}", clock.now() + 60)
    assert len(runs.look("here", ALL).ended) == MAX_TOLD == 2 * KEPT
    assert runs.look("here", Question("", find="id-0")).delayed == ()
    (delayed,) = runs.look("here", Question("", find=f"id-{2 * KEPT_DELAYED - 1}")).delayed
    assert delayed.until == clock.now() + 60


def test_an_id_is_found_among_all_that_it_has_caused(runs, invocation, clock):
    run_one(runs, invocation(id="first"), clock.now())
    run_one(runs, invocation(id="second", headers={CORRELATION_ID: "first"}), clock.now())
    run_one(runs, invocation(id="other"), clock.now())
    runs.begin(invocation(id="third", headers={CORRELATION_ID: "first"}), clock.now())
    sight = runs.look("here", Question("", find="first"))
    assert [run.id for run in sight.ended] == ["first", "second"]
    assert [run.id for run in sight.runs] == ["third"]


def test_as_many_are_told_as_were_asked_for(runs, invocation, clock):
    for number in range(5):
        runs.begin(invocation(id=str(number)), clock.now())
        run_one(runs, invocation(), clock.now())
    sight = runs.look("here", Question("", most=2))
    assert ([run.id for run in sight.runs], sight.skipped, len(sight.ended)) == (["0", "1"], 3, 2)


async def test_what_ended_longer_ago_is_not_told(runs, invocation, clock):
    run_one(runs, invocation(), clock.now())
    await clock.advance(60)
    assert runs.look("here", Question("", seconds=5)).ended == ()


def test_long_and_hostile_texts_are_cut(runs, invocation, clock):
    runs.begin(invocation(id="\x1b[31m" + "x" * 1000), clock.now())
    (run,) = runs.look("here", ALL).runs
    assert run.id.startswith(" [31mx")
    assert len(run.id) == MAX_TEXT
