"""What makes two requests the same one, and what is kept of the answer to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import orjson

from eventmesh.engine.binding.payload import Payload, build_payload_binder
from eventmesh.engine.codecs.json import encode
from eventmesh.engine.codecs.json_bounds import is_small_json
from eventmesh.engine.spec import FunctionSpec
from eventmesh.model.errors import DeclarationError, Problem
from eventmesh.model.event import Event
from eventmesh.model.invocation import HttpRequest, Invocation, RouteTemplate
from eventmesh.model.invocation.claim import Claim, KeyPath
from eventmesh.model.result import Result
from eventmesh.model.value import copier, value

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
"""The header of a response that was given before."""

MAX_KEY: Final = 255
"""Characters of a key."""

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer that are kept."""

_SERVER_ERROR: Final = 500


@value
class KeyedRequest:
    """A request with an idempotency key.

    `scope` says whose key of which function it is, and `fingerprint` what was asked for: both are
    hashes (SHA-256) in hexadecimal digits.
    """

    function: str
    scope: str
    fingerprint: str
    by_header: bool = False


Claimed: TypeAlias = Claim | bytes | Literal["reused", "running"]
"""A claim; or the answer that was kept; or why there is neither: the key was used for another
request, or the request still runs elsewhere."""


class Claims(Protocol):
    """The requests of all replicas that run or have run, in a store."""

    async def claim(self, request: KeyedRequest, wait: float) -> Claimed:
        """Claim a request; while it runs elsewhere, wait for its answer for so many seconds.

        Raises StoreUnavailable.
        """
        ...


def check_key_path(spec: FunctionSpec) -> None:
    """Raise DeclarationError for an `idempotency_key` that no payload of the function has."""
    given, schema = spec.idempotency_key, spec.schema
    if given is None:
        return
    why = ""
    if schema.is_stream:
        why = "it yields its items, which are not kept: return a list"
    elif spec.batching is not None:
        why = "it takes batches: take the messages one by one"
    elif schema.payload is None:
        why = "it takes no payload: add a parameter for the key"
    elif isinstance(given, str) and not _has_field(schema.payload, given.partition(".")[0]):
        why = f"its payload has no field {given.partition('.')[0]!r}: write one that it has"
    if why:
        raise DeclarationError(f"{spec.full_name}: idempotency_key={given!r} cannot be used: {why}")


def _has_field(payload: Payload, name: str) -> bool:
    """Whether a payload may have a field; True where its type does not say."""
    if not payload.whole:
        return name in payload.fields
    (only,) = payload.fields.values()
    known: object = getattr(only.annotation, "model_fields", None)
    return not isinstance(known, dict) or name in known


KeyReader: TypeAlias = Callable[[Invocation], KeyedRequest | None]
"""Reads the key of an invocation; None without one. Raises Problem, and what binding raises."""


def build_key_reader(function: FunctionSpec) -> KeyReader | None:
    """Build what reads keys; None for a function none of whose invocations can have one."""
    in_payload = None
    if function.idempotency_key is not None:
        in_payload = _build_payload_key(function, function.idempotency_key)
    by_header = any(route.idempotency for route in function.routes)
    if in_payload is None and not by_header:
        return None
    name = function.full_name

    def read(invocation: Invocation) -> KeyedRequest | None:
        http = invocation.http
        if http is not None and http.route.idempotency:
            key = _read_header(http)
            if key:
                target = (http.method, http.target)
                return KeyedRequest(
                    name,
                    _hash(name, invocation.principal, "header", key),
                    _hash(*target, invocation.payload),
                    by_header=True,
                )
        if in_payload is None:
            return None
        key, payload = in_payload(invocation)
        if not key:
            return None
        scope = _hash(name, invocation.principal, "payload", key)
        return KeyedRequest(name, scope, _hash(_canonical(payload)))

    return read


def _read_header(http: HttpRequest) -> str:
    """Return the key in a request's header; "" where it may be left out, and is.

    It is a string of structured fields, in quotes, or bare, as many clients send it
    (draft-ietf-httpapi-idempotency-key-header, section 2.1).
    """
    given = http.headers.get(HEADER, "").strip()
    if not given:
        if http.route.idempotency == "required":
            raise Problem(
                400,
                f"the request has no {HEADER}: send one that no other request has, such as a UUID, "
                "and the same one when you repeat it",
                title="Idempotency-Key is missing",
            )
        return ""
    quoted = _QUOTED.fullmatch(given)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else given
    if not _BARE.fullmatch(key) and not quoted:
        key = ""
    if not 0 < len(key) <= MAX_KEY:
        raise Problem(
            400,
            f"the {HEADER} cannot be read: send 1 to {MAX_KEY} printable characters of ASCII, such "
            "as a UUID in quotes",
            title="Idempotency-Key is invalid",
        )
    return key


_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A string (RFC 9651, section 3.3.3)."""
_BARE: Final = re.compile(r"[!#-~]+")

_without_http: Final = copier(Invocation, "payload", "http")


def _build_payload_key(
    function: FunctionSpec, given: KeyPath
) -> Callable[[Invocation], tuple[str, bytes]]:
    """Build what returns the key in a payload, "" without one, and the payload by name."""
    schema, limit = function.schema, function.limits.max_payload
    payload = cast(Payload, schema.payload)  # Checked when it was declared.
    bind = build_payload_binder(payload)
    read = _build_path(given) if isinstance(given, str) else given
    by_route: dict[RouteTemplate, Callable[[Invocation], bytes]] = {}

    def read_key(invocation: Invocation) -> tuple[str, bytes]:
        http, body = invocation.http, invocation.payload
        if len(body) > limit:
            return "", b""  # It is not run.
        if http is not None:
            if http.route not in by_route:
                by_route[http.route] = schema.build_async_payload(http.route)
            body = by_route[http.route](invocation)
        arguments = bind(_without_http(invocation, payload=body, http=None))
        key = read(_value_of(payload, arguments))
        return "" if key is None else str(key), body

    return read_key


def _value_of(payload: Payload, arguments: Mapping[str, Any]) -> Any:
    if not payload.whole:
        return arguments
    only = next(iter(arguments.values()), None)
    return cast(Event[object], only).data if isinstance(only, Event) else only


def _build_path(path: str) -> Callable[[Any], Any]:
    names = path.split(".")

    def read(found: Any) -> Any:
        for name in names:
            if found is None:
                return None
            if isinstance(found, Mapping):
                found = cast(Mapping[str, Any], found).get(name)
            else:
                found = getattr(found, name, None)
        return found

    return read


def _canonical(payload: bytes) -> bytes:
    """Return the payload as it is however its JSON was written."""
    if not payload or not is_small_json(payload):
        return payload
    return orjson.dumps(orjson.loads(payload), option=orjson.OPT_SORT_KEYS)


def _hash(*parts: str | bytes) -> str:
    """Hash the parts so that no others have that hash: with the length of each."""
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8) + data)
    return hashed.hexdigest()


def is_answer(result: Result) -> bool:
    """Whether a result is given again, and is no failure after which the request is run again."""
    if isinstance(result.error, Problem):
        return result.error.status < _SERVER_ERROR
    return result.error is None and result.status < _SERVER_ERROR


def dump_answer(result: Result) -> bytes:
    """Return what is kept of a result: of one that is too large, only that."""
    error = result.error
    head: dict[str, Any]
    if isinstance(error, Problem):
        names = ("status", "detail", "title", "type", "headers", "extensions")
        head = {"problem": {name: getattr(error, name) for name in names}}
    else:
        head = {
            "content_type": result.content_type,
            "status": result.status,
            "headers": {name: _plain(text) for name, text in result.headers.items()},
        }
    answer = encode(head) + b"\n" + result.body
    return answer if len(answer) <= MAX_ANSWER else encode({"size": len(answer)}) + b"\n"


def _plain(text: Any) -> Any:
    return text if isinstance(text, str) else list(text)


def load_answer(answer: bytes) -> Result:
    """Return the result of which `dump_answer` kept that."""
    head, _, body = answer.partition(b"\n")
    kept: dict[str, Any] = orjson.loads(head)
    if "size" in kept:
        return Result(
            b"",
            error=Problem(
                409,
                f"this request was done, but its answer of {kept['size']:,} bytes is too large to "
                "be kept and given again",
                title="The answer is not kept",
            ),
        )
    if "problem" in kept:
        problem = kept["problem"]
        extensions = problem.pop("extensions")
        problem["headers"] = {**problem["headers"], REPLAYED: "true"}
        return Result(b"", error=Problem(**problem, **extensions))
    headers = {**kept["headers"], REPLAYED: "true"}
    return Result(body, content_type=kept["content_type"], status=kept["status"], headers=headers)
