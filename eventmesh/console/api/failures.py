"""Dead letters at the console: grouped by what failed, retried, edited and discarded."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Final

from eventmesh.console.api.gate import Asked
from eventmesh.console.sources import Source
from eventmesh.console.state.recorded import Recorded
from eventmesh.engine.codecs.json import encode
from eventmesh.engine.upkeep.dead_letters import MAX_LISTED, BrokerDeadLetters, DeadLetter
from eventmesh.http.api.dead_letter_json import dead_letter_members
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.model.errors import Problem
from eventmesh.model.ids import new_id
from eventmesh.model.message import JSON, Message
from eventmesh.model.topology import to_function
from eventmesh.model.trace_context import CORRELATION_ID, find_correlation_id

MAX_RESOLVED: Final = 200
"""Dead letters that are remembered after they were dealt with."""

MAX_RESOLVED_BYTES: Final = 64 * 1024
"""Bytes of a payload that are remembered then."""

_FRAME: Final = re.compile(r'File "([^"]*)", line (\d+), in (\S+)')


class FailuresApi:
    """Answers requests about dead letters."""

    def __init__(self, source: Source, recorded: Recorded) -> None:
        self._source = source
        self._recorded = recorded
        self._letters = BrokerDeadLetters(
            source.broker, source.clock, self._list_known, source.gateways
        )
        self._resolved: deque[dict[str, Any]] = deque(maxlen=MAX_RESOLVED)

    async def summarize(self, _: Asked) -> BytesResponse:
        """Count the dead letters of all functions, also of those that nobody serves, if known."""
        served = set(self._list_served())
        functions = [
            {
                "function": each.function,
                "count": each.count,
                "oldest": each.oldest,
                "newest": each.newest,
                "served": each.function in served,
            }
            for each in await self._letters.summarize()
        ]
        return json_response(200, {"functions": functions})

    async def list(self, asked: Asked) -> BytesResponse:
        """List the dead letters of a function, the oldest first, and their groups."""
        letters = await self._letters.list(asked.path["function"], MAX_LISTED)
        groups: dict[str, dict[str, Any]] = {}
        for letter in letters:
            key = group_key(letter)
            when = letter.last_failure or letter.created
            group = groups.setdefault(
                key,
                {
                    "key": key,
                    "error_type": letter.error_type,
                    "frame": top_frame(letter),
                    "count": 0,
                    "first": when,
                    "last": when,
                    "ids": [],
                },
            )
            group["count"] += 1
            group["ids"].append(letter.id)
            group["first"], group["last"] = min(group["first"], when), max(group["last"], when)
        members = [
            {**dead_letter_members(each), "frame": top_frame(each), "group": group_key(each)}
            for each in letters
        ]
        return json_response(200, {"groups": list(groups.values()), "dead_letters": members})

    async def retry(self, asked: Asked) -> BytesResponse:
        """Deliver those that the body selects again, as if they were new."""
        function = asked.path["function"]
        if asked.body.get("all") is True:
            return json_response(200, {"retried": await self._letters.redrive(function)})
        letters = await self._select(asked)
        retried = await self._letters.redrive_these(function, {letter.id for letter in letters})
        for letter in letters:
            self._resolve(asked, letter, "retried")
        return json_response(200, {"retried": retried})

    async def retry_edited(self, asked: Asked) -> BytesResponse:
        """Send a copy with another payload, and keep the original as resolved."""
        function, id = asked.path["function"], asked.path["id"]
        if "payload" not in asked.body:
            raise Problem(422, "the body has no payload")
        (letter,) = await self._find(function, [id])
        copy = Message(
            encode(asked.body["payload"]),
            new_id(),
            self._source.clock.now(),
            JSON,
            {
                **letter.headers,
                CORRELATION_ID: find_correlation_id(letter.headers, letter.id),
            },
            trigger=letter.trigger,
            principal=asked.principal,
        )
        # Stored before the original is dropped: an interruption may leave both.
        await self._source.broker.publish(to_function(function), copy)
        await self._letters.discard(function, {id})
        self._resolve(asked, letter, "edited", copy.id)
        return json_response(200, {"id": copy.id})

    async def discard(self, asked: Asked) -> BytesResponse:
        """Drop those that the body selects."""
        letters = await self._select(asked)
        ids = {letter.id for letter in letters}
        discarded = await self._letters.discard(asked.path["function"], ids)
        for letter in letters:
            self._resolve(asked, letter, "discarded")
        return json_response(200, {"discarded": discarded})

    async def list_resolved(self, _: Asked) -> BytesResponse:
        """List what was dealt with here, the latest first."""
        return json_response(200, {"resolved": list(reversed(self._resolved))})

    async def _list_known(self) -> Collection[str]:
        return {*self._list_served(), *await self._recorded.names()}

    def _list_served(self) -> Sequence[str]:
        return [
            function["name"]
            for instance in self._source.instances().values()
            for function in instance.functions
        ]

    async def _select(self, asked: Asked) -> Sequence[DeadLetter]:
        function, group = asked.path["function"], asked.text("group")
        if group:
            letters = await self._letters.list(function, MAX_LISTED)
            return [letter for letter in letters if group_key(letter) == group]
        ids = asked.texts("ids")
        if not ids:
            raise Problem(422, "say which ones: ids, or a group")
        return await self._find(function, ids)

    async def _find(self, function: str, ids: Collection[str]) -> Sequence[DeadLetter]:
        letters = await self._letters.list(function, MAX_LISTED)
        found = [letter for letter in letters if letter.id in set(ids)]
        if not found:
            raise Problem(404, f"{function} has no such dead letter: somebody has dealt with it")
        return found

    def _resolve(self, asked: Asked, letter: DeadLetter, action: str, copy: str = "") -> None:
        members = dead_letter_members(letter)
        if len(letter.payload) > MAX_RESOLVED_BYTES:
            members.pop("payload", None)
            members.pop("payload_base64", None)
        self._resolved.append(
            {
                "function": letter.function,
                "id": letter.id,
                "action": action,
                "by": asked.identity.principal,
                "at": self._source.clock.now(),
                "copy": copy,
                "dead_letter": members,
            }
        )


def top_frame(letter: DeadLetter) -> str:
    """Return where a dead letter's error was raised, "app.py:12 in buy"; "" if it is not known."""
    frames = _FRAME.findall(letter.traceback)
    if not frames:
        return ""
    path, line, name = frames[-1]
    return f"{path.replace(chr(92), '/').rpartition('/')[2]}:{line} in {name}"


def group_key(letter: DeadLetter) -> str:
    """Return what dead letters of one error type and one place have in common."""
    text = f"{letter.error_type}\n{top_frame(letter) or letter.reason}"
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
