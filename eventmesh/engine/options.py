"""The options of a function: each is declared, explained and checked here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, TypedDict, cast

from eventmesh.abc import Callee
from eventmesh.model.access.policy import MESH, Access
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.errors import DeclarationError
from eventmesh.model.invocation.claim import KeyPath
from eventmesh.model.limits import (
    DEFAULT_CONCURRENCY,
    DEFAULT_IDLE_TIMEOUT,
    DEFAULT_MAX_NODES,
    DEFAULT_MAX_PAYLOAD,
    DEFAULT_RETENTION,
    DEFAULT_TIMEOUT,
    PROCESS,
    Durability,
    Isolation,
    IsolationMode,
    Limits,
    Size,
    count_processors,
    parse_size,
)
from eventmesh.model.retry import Retry
from eventmesh.model.topology import Route, parse_destination
from eventmesh.model.value import value

Destination: TypeAlias = str | Callee[..., Any]
"""Who gets records of outcomes: "service.function", "queue:NAME", "event:TYPE", or a function."""

DEFAULT_RETRY: Final = Retry()


class FunctionOptions(TypedDict, total=False):
    """The options of a function, all of which may be left out.

    `name` is the Python function's own name unless given. `timeout` is a duration (30 s unless
    given), None for no limit. `concurrency` is how many runs there are at once in one process (100
    unless given), and `reserved_concurrency` in the whole mesh, None for no limit there.
    `max_pending` is how many synchronous callers may wait for a permit (as many as `concurrency`
    unless given). `max_payload` is bytes, of the payload and of the result that a caller by name
    gets (6 MiB unless given), and `max_nodes` the values in a payload that is JSON (200,000 unless
    given): each takes memory, however few bytes it has. `retry` is for asynchronous invocations.
    `on_success` and `on_failure` get records of their outcomes.

    `access` says who may call the function by its name: with "private" functions of its service
    alone, with "mesh", the default, everyone in the mesh, and with "public" clients of the HTTP
    APIs also without a scope. Of these, `callers` admits some, and of events those that they emit:
    "orders.place", "orders.*", or an identity such as "token:ci".

    `idempotency_key` is where the payload has a key: a field, "order_id" or "order.id", or a
    function of the payload. Of invocations with one key and one caller, one is run, among all
    replicas, and all get its result, for a day; without a key each is run. It needs a store.

    With `durable`, which needs a store, a coroutine function runs as an execution, which may take
    weeks, and at most `execution_timeout` (a duration), None for no limit. It is kept for
    `retention` after its end (a duration, 14 days unless given).

    `runtime` names how the handler is run: "inline", in the event loop, where it is a coroutine
    function, and "thread", in one of `concurrency` threads, where it is not, unless given. Other
    packages provide more. A thread cannot be cancelled: it goes on after its run has timed out.
    Until it has ended the run keeps its permit, and its slot of `reserved_concurrency`.
    """

    name: str | None
    timeout: Duration | None
    concurrency: int
    reserved_concurrency: int | None
    max_pending: int | None
    max_payload: int
    max_nodes: int
    retry: Retry
    on_success: Destination | None
    on_failure: Destination | None
    runtime: str | None
    access: Access
    callers: Sequence[str]
    idempotency_key: KeyPath | None
    durable: bool
    execution_timeout: Duration | None
    retention: Duration
    isolation: IsolationMode | None
    memory: Size | None
    instances: int
    provisioned: int
    idle_timeout: Duration | None
    max_invocations: int | None


@value
class DeclaredOptions:
    """The options of a function, checked. What needs its name is checked later."""

    name: str | None
    limits: Limits
    retry: Retry
    on_success: Destination | None
    on_failure: Destination | None
    runtime: str | None
    access: Access
    callers: Sequence[str]
    isolation: Isolation | None
    durability: Durability | None
    idempotency_key: KeyPath | None


def read_options(given: FunctionOptions) -> DeclaredOptions:
    """Check options and fill in the defaults. Raises DeclarationError, with advice."""
    _check_known(given)
    timeout = given.get("timeout", DEFAULT_TIMEOUT)
    isolation = _read_isolation(given)
    concurrency = given.get("concurrency", DEFAULT_CONCURRENCY if isolation is None else 1)
    max_pending = given.get("max_pending")
    if max_pending is None and isolation is not None:
        max_pending = max(DEFAULT_CONCURRENCY, isolation.instances)
    limits = Limits(
        timeout=None if timeout is None else seconds(timeout, "timeout"),
        concurrency=concurrency,
        reserved_concurrency=given.get("reserved_concurrency"),
        max_pending=concurrency if max_pending is None else max_pending,
        max_payload=given.get("max_payload", DEFAULT_MAX_PAYLOAD),
        max_nodes=given.get("max_nodes", DEFAULT_MAX_NODES),
    )
    retry = given.get("retry", DEFAULT_RETRY)
    _check_retry(retry, limits)
    return DeclaredOptions(
        name=given.get("name"),
        limits=limits,
        retry=retry,
        on_success=given.get("on_success"),
        on_failure=given.get("on_failure"),
        runtime=given.get("runtime"),
        access=given.get("access", MESH),
        callers=given.get("callers", ()),
        isolation=isolation,
        durability=_read_durability(given),
        idempotency_key=_read_key_path(given.get("idempotency_key")),
    )


_ISOLATED: Final = ("memory", "instances", "provisioned", "idle_timeout", "max_invocations")
"""Options of functions that run in processes of their own."""


def _read_isolation(given: FunctionOptions) -> Isolation | None:
    mode = given.get("isolation")
    if mode is None:
        alone = next((name for name in _ISOLATED if name in given), None)
        if alone is not None:
            raise DeclarationError(
                f"{alone}= is for a function that runs in processes of its own: write "
                "isolation='process' with it"
            )
        return None
    if mode != PROCESS:
        raise DeclarationError(f"isolation={mode!r}: write isolation='process', or leave it out")
    memory, idle = given.get("memory"), given.get("idle_timeout", DEFAULT_IDLE_TIMEOUT)
    return Isolation(
        instances=given.get("instances", count_processors()),
        memory=None if memory is None else parse_size(memory, "memory"),
        provisioned=given.get("provisioned", 0),
        idle_timeout=None if idle is None else seconds(idle, "idle_timeout"),
        max_invocations=given.get("max_invocations"),
    )


_DURABLE: Final = ("execution_timeout", "retention")
"""Options of durable functions."""

_NOT_DURABLE: Final = ("on_success", "on_failure", "idempotency_key")
"""Options of functions whose run is one invocation."""


def _read_durability(given: FunctionOptions) -> Durability | None:
    durable: Any = given.get("durable", False)
    if not isinstance(durable, bool):
        raise DeclarationError(f"durable={durable!r}: write durable=True, or leave it out")
    if not durable:
        unfit = next((name for name in _DURABLE if name in given), None)
        if unfit is not None:
            raise DeclarationError(f"{unfit}= is for a durable function: add durable=True")
        return None
    alone = next((name for name in _NOT_DURABLE if given.get(name) is not None), None)
    if alone is not None:
        raise DeclarationError(
            f"{alone}= is for a function that one invocation finishes, and a durable one takes "
            "many: do with its context what is to follow, and name its executions"
        )
    timeout = given.get("execution_timeout")
    return Durability(
        None if timeout is None else max(1, round(seconds(timeout, "execution_timeout"))),
        seconds(given.get("retention", DEFAULT_RETENTION), "retention"),
    )


def _read_key_path(given: Any) -> KeyPath | None:
    if given is None or callable(given):
        return cast(KeyPath | None, given)
    if not isinstance(given, str) or not all(name.isidentifier() for name in given.split(".")):
        raise DeclarationError(
            f"idempotency_key={given!r}: write a field of the payload, such as 'order_id' or "
            "'order.id', or a function that returns the key of a payload"
        )
    return given


def read_destination(option: str, target: Any, full_name: str) -> Route | None:
    """Find the destination that an option of a function names.

    Raises DeclarationError for an invalid destination, and for the function itself.
    """
    if target is None:
        return None
    name = target if isinstance(target, str) else getattr(target, "full_name", None)
    if not isinstance(name, str):
        raise DeclarationError(
            f"{full_name}: {option}={target!r} is not a destination; write a function, its name "
            "'service.function', 'queue:NAME' or 'event:TYPE'"
        )
    if name == full_name:
        raise DeclarationError(
            f"{full_name}: {option} names the function itself, which would never end; name another"
        )
    return parse_destination(name)


def _check_known(given: FunctionOptions) -> None:
    known = tuple(FunctionOptions.__annotations__)
    unknown = next((name for name in cast(dict[str, Any], given) if name not in known), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise DeclarationError(f"a function has no option {unknown!r}: {advice}")


def _check_retry(retry: Any, limits: Limits) -> None:
    if not isinstance(retry, Retry):
        raise DeclarationError(f"retry={retry!r}: write Retry(attempts=…), 1 for no retry")
    if limits.timeout is not None and retry.attempts > 1 and limits.timeout > retry.max_age:
        raise DeclarationError(
            f"timeout={limits.timeout:g} s is longer than max_age={retry.max_age:g} s, so a run "
            "that times out is never retried: lower the timeout, raise Retry(max_age=…) or write "
            "Retry(attempts=1)"
        )
