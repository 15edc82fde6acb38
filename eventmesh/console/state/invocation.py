"""What became of one invocation, from whatever knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from eventmesh.console.sources.source import Source
from eventmesh.console.state.history import NO_HISTORY, History
from eventmesh.console.state.members import run_members
from eventmesh.engine.results import StoredResult
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters, DeadLetter
from eventmesh.http.api.dead_letter_json import dead_letter_members
from eventmesh.middleware.outcome import SUCCESS
from eventmesh.model.errors import InvocationError
from eventmesh.model.ids import check_id
from eventmesh.model.runs import DelayedRun, KeptRun, Run, find_place
from eventmesh.model.topology import dead_letters
from eventmesh.model.value import value

MAX_SEARCHED: Final = 100
"""Functions whose dead letters are searched for an id, those with most first."""

_UNKNOWN: Final = (
    "no process runs it, ran it lately or holds it back, and it is no dead letter. It may wait in "
    "a queue, have ended longer ago, or never have been: a store (EVENTMESH_STORE) remembers all"
)


@value
class Found:
    """All that is known of the invocations with an id or a correlation id.

    `runs` and `ended` are each with the id of its process. `state` is of the one with the id
    itself: "running", "waiting", "delayed", "retrying", "succeeded", "failed", "cancelled" or
    "unknown". `incomplete` says what could not be asked. `kept` are runs that only the history of
    the console knows.
    """

    id: str
    state: str
    detail: str
    runs: Sequence[tuple[str, Run]] = ()
    ended: Sequence[tuple[str, Run]] = ()
    delayed: Sequence[DelayedRun] = ()
    results: Sequence[StoredResult] = ()
    dead: Sequence[DeadLetter] = ()
    kept: Sequence[KeptRun] = ()
    incomplete: Sequence[str] = ()


async def find_invocation(
    source: Source, id: str, gone: Iterable[str] = (), *, history: History = NO_HISTORY
) -> Found:
    """Look for an id in processes, stores, dead letters and the console's history.

    `gone` are functions nobody runs.

    Raises DeclarationError for what no id can be, and BrokerUnavailable.
    """
    check_id(id)
    sights = await source.look(find=id)
    runs = [(sight.instance, run) for sight in sights for run in sight.runs]
    ended = [(sight.instance, run) for sight in sights for run in sight.ended]
    delayed = [each for sight in sights for each in sight.delayed]
    incomplete: list[str] = []
    results: Sequence[StoredResult] = ()
    try:
        results = await source.results.find(id)
    except InvocationError as error:
        incomplete.append(f"the stores: {error}")
    dead = await _find_dead(source, id, gone)
    known = {find_place(run) for _, run in ended}
    kept, failure = await history.find(id)
    if failure:
        incomplete.append(failure)
    only_kept = [each for each in kept if each.place not in known]
    found = Found(id, "", "", runs, ended, delayed, results, dead, only_kept, incomplete)
    state, detail = _decide(found)
    return replace(found, state=state, detail=detail)


async def _find_dead(source: Source, id: str, gone: Iterable[str]) -> Sequence[DeadLetter]:
    names = {
        function["name"]
        for instance in source.instances().values()
        for function in instance.functions
    } | {*gone}
    depths = {name: await source.broker.depth(dead_letters(name)) for name in sorted(names)}
    letters = BrokerDeadLetters(source.broker, source.clock, None, source.gateways)
    fullest = sorted((name for name in depths if depths[name]), key=lambda name: -depths[name])
    shown = [await letters.show(name, id) for name in fullest[:MAX_SEARCHED]]
    return [letter for letter in shown if letter is not None]


def _decide(found: Found) -> tuple[str, str]:
    """Return the state of what has the id itself, and a few words about it."""
    return next(_list_states(found), ("unknown", _UNKNOWN))


def _list_states(found: Found) -> Iterator[tuple[str, str]]:
    """Yield what each that knows of it says, who knows best first."""
    for instance, run in found.runs:
        if run.id == found.id:
            yield "running", f"{run.function}, attempt {run.attempt}, in {instance}"
    for letter in found.dead:
        yield "failed", f"a dead letter of {letter.function}: {letter.reason}"
    for each in found.delayed:
        yield "delayed", f"{each.function} is given it when it is due"
    for result in found.results:
        yield result.state, f"{result.function}, attempt {result.attempt}"
    past = [run for _, run in found.ended if run.id == found.id]
    for run in sorted(past, key=lambda run: run.since, reverse=True):
        yield _name_state(run), f"{run.function}, attempt {run.attempt}: {run.outcome}"
    for run in (each.run for each in found.kept):
        if run.id == found.id:
            detail = f"{run.function}, attempt {run.attempt}: {run.outcome}"
            yield _name_state(run), f"{detail}; only the history of the console knows it"


def _name_state(run: Run) -> str:
    return "succeeded" if run.outcome == SUCCESS else "failed"


def found_members(found: Found) -> dict[str, Any]:
    """Return it as plain values: times are seconds since the epoch."""
    chain = [run_members(*each) for each in (*found.runs, *found.ended)]
    chain += [run_members(each.instance, each.run, of_history=True) for each in found.kept]
    chain.sort(key=lambda run: run["since"])
    return {
        "id": found.id,
        "state": found.state,
        "detail": found.detail,
        "where": [run for run in chain if run["id"] == found.id]
        + [
            {"function": each.function, "id": each.id, "delayed_until": each.until}
            for each in found.delayed
        ]
        + [
            {
                "function": each.function,
                "id": each.id,
                "state": each.state,
                "attempt": each.attempt,
                "since": each.updated,
            }
            for each in found.results
        ],
        "chain": chain,
        "dead_letters": [dead_letter_members(letter) for letter in found.dead],
        "incomplete": list(found.incomplete),
    }
