"""Invocations at the console: what goes on and what has ended, in pages, and all about one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from eventmesh.console.api.gate import Asked
from eventmesh.console.api.timers import Route
from eventmesh.console.sources import Source
from eventmesh.console.state.history import History
from eventmesh.console.state.invocation import find_invocation, found_members
from eventmesh.console.state.members import run_members
from eventmesh.http.server.request import parse_query
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.model.errors import Problem
from eventmesh.model.runs import MAX_TOLD, KeptRun, KeptRuns, Place, RunFilter, Sight, find_place

REMEMBERED: Final = 3600.0
"""Seconds back to which invocations are listed, as far as processes remember them."""

MAX_PAGE: Final = 1_000

_COUNT: Final = re.compile(r"[0-9]{1,6}")
_PLACE: Final = re.compile(r"([0-9.e+-]{1,32})_([0-9a-f]{32})")


class InvocationsApi:
    """Answers requests about invocations, from processes and from the history."""

    def __init__(self, source: Source, history: History) -> None:
        self._source = source
        self._history = history

    def routes(self) -> Sequence[Route]:
        """The routes, without what guards them."""
        return (
            ("GET", "invocations", "read", "list invocations", self._list),
            ("GET", "invocations/{id}", "read", "show", self._show),
        )

    async def _list(self, asked: Asked) -> BytesResponse:
        """List the runs that the query selects, the latest first, and where the next page begins.

        A page that was looked for in many rows may have fewer runs than `limit`, and a next one.
        """
        query = {name: texts[-1] for name, texts in parse_query(asked.request.target).items()}
        which, limit = _read_filter(query), _read_limit(query.get("limit", "100"))
        before = _read_place(query.get("before", ""))
        sights = await self._source.look(
            find=which.find or which.correlation_id, seconds=REMEMBERED, most=MAX_TOLD
        )
        kept, failure = await self._history.read(which, before, limit)
        page, more = _make_page(_list_told(sights, which), kept, before, limit)
        history = self._history.members()
        if history is not None:
            history["unavailable"] = failure
        running = [
            run_members(sight.instance, run)
            for sight in sights
            for run in sight.runs
            if before is None and which.selects(run)
        ]
        return json_response(
            200,
            {
                "invocations": page,
                "running": running[:limit],
                "next": "" if more is None else f"{more[0]!r}_{more[1]}",
                "history": history,
            },
        )

    async def _show(self, asked: Asked) -> BytesResponse:
        """Show where an invocation is, and its chain."""
        found = await find_invocation(self._source, asked.path["id"], history=self._history)
        runs = [run for _, run in (*found.runs, *found.ended)] + [each.run for each in found.kept]
        chains = {run.correlation_id for run in runs} - {found.id}
        members = found_members(found)
        for chain in sorted(chains)[:1]:
            # The id is one of the later hops: all of its chain is told.
            whole = await find_invocation(self._source, chain, history=self._history)
            members["chain"] = found_members(whole)["chain"]
        return json_response(200, members)


def _list_told(sights: Sequence[Sight], which: RunFilter) -> Sequence[KeptRun]:
    """Return what processes told of runs that have ended, as far as it is wanted."""
    return [
        KeptRun(sight.instance, run, find_place(run))
        for sight in sights
        for run in sight.ended
        if which.selects(run) and math.isfinite(run.since)  # Else it has no place in a page.
    ]


def _make_page(
    told: Sequence[KeptRun], kept: KeptRuns, before: Place | None, limit: int
) -> tuple[Sequence[Mapping[str, Any]], Place | None]:
    """Return the runs of a page, the latest first, and the place before which the next one is."""
    # What was told and is older than what the history was asked for belongs to a later page.
    first = [
        each
        for each in told
        if (before is None or each.place < before)
        and (kept.more is None or each.place >= kept.more)
    ]
    known = {each.place for each in first}
    only_kept = {each.place for each in kept.runs} - known
    # Twice where a process of `eventmesh dev` took over what another remembered.
    merged = {each.place: each for each in (*kept.runs, *first)}
    ordered = [merged[place] for place in sorted(merged, reverse=True)]
    page = [
        run_members(each.instance, each.run, of_history=each.place in only_kept)
        for each in ordered[:limit]
    ]
    more = ordered[limit - 1].place if len(ordered) > limit else kept.more
    return page, more


def _read_filter(query: Mapping[str, str]) -> RunFilter:
    return RunFilter(
        find=query.get("id", ""),
        function=query.get("function", ""),
        outcome=query.get("outcome", ""),
        trigger=query.get("trigger", ""),
        correlation_id=query.get("correlation_id", ""),
        since=_read_time(query, "since"),
        until=_read_time(query, "until"),
    )


def _read_time(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if not text:
        return None
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise Problem(422, f"{name}={text!r} is not a number")
    return time


def _read_limit(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise Problem(422, f"limit={text!r} is not a number")
    return min(max(int(text), 1), MAX_PAGE)


def _read_place(text: str) -> Place | None:
    if not text:
        return None
    matched = _PLACE.fullmatch(text)
    try:
        if matched is not None and math.isfinite(started := float(matched[1])):
            return started, matched[2]
    except ValueError:
        pass
    raise Problem(422, f"before={text!r} is not what another answer has as its next")
