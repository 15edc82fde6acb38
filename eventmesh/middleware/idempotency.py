"""Runs a request with an idempotency key once, and gives its answer again."""

from __future__ import annotations

import logging
from typing import Final

from eventmesh.abc import Handler, Middleware
from eventmesh.aio.clock import Clock
from eventmesh.engine.idempotency import (
    HEADER,
    Claimed,
    Claims,
    KeyedRequest,
    KeyReader,
    dump_answer,
    is_answer,
    load_answer,
)
from eventmesh.engine.runtimes.failures import failure_from
from eventmesh.model.errors import (
    InvocationError,
    PayloadInvalid,
    Problem,
    StoreUnavailable,
    Throttled,
)
from eventmesh.model.invocation import Invocation
from eventmesh.model.invocation.claim import Claim
from eventmesh.model.limits import DEFAULT_TIMEOUT
from eventmesh.model.result import HANDLER_ERRORS, Result
from eventmesh.model.value import copier

RETRY_SECONDS: Final = 1.0
"""After which a request that still runs elsewhere is asked for again."""

_log: Final = logging.getLogger(__name__)
_with_claim: Final = copier(Invocation, "claim")


def run_once(read: KeyReader, claims: Claims, clock: Clock, timeout: float | None) -> Middleware:
    """Run a request with a key once, among all replicas, and give its answer to all others.

    While it runs elsewhere, they wait until their deadline, or `timeout` seconds. What fails is
    not kept: the next one runs it again. So does one whose process has died.
    """
    limit = DEFAULT_TIMEOUT if timeout is None else timeout

    def wrap(handler: Handler) -> Handler:
        async def run(invocation: Invocation) -> Result:
            try:
                request = read(invocation)
            except (InvocationError, Problem) as error:
                return Result(b"", error=error)
            except HANDLER_ERRORS as error:  # A bug in a validator, or in what reads the key.
                return Result(b"", error=failure_from(error))
            if request is None:
                return await handler(invocation)
            ends = clock.monotonic() + limit
            if invocation.deadline is not None:
                ends = min(ends, invocation.deadline)
            try:
                while True:
                    claimed = await claims.claim(request, max(ends - clock.monotonic(), 0.0))
                    result = await _answer(handler, invocation, request, claimed)
                    if result is not None:
                        return result
            except StoreUnavailable as error:
                return Result(b"", error=error)

        return run

    return wrap


async def _answer(
    handler: Handler, invocation: Invocation, request: KeyedRequest, claimed: Claimed
) -> Result | None:
    """Run what is claimed, or answer without a run; None if it is to be claimed again."""
    if isinstance(claimed, bytes):
        _log.info("%s: given the answer that was kept", invocation.function)
        return load_answer(claimed)
    if claimed == "reused":
        return Result(b"", error=_reused(request))
    if claimed == "running":
        return Result(b"", error=_still_running(request))
    return await _run(handler, invocation, claimed)


async def _run(handler: Handler, invocation: Invocation, claim: Claim) -> Result | None:
    """Run a claimed request; None if another process has taken it over meanwhile."""
    try:
        result = await handler(_with_claim(invocation, claim=claim))
        if result.error is not None:
            # What ends with an error has changed nothing, also if that is its answer.
            await claim.roll_back()
        # What was committed is not done again, whatever the answer is.
        if not is_answer(result) and not claim.adopted:
            await claim.release()
            return result
        return await _keep(claim, invocation, result)
    except BaseException:
        await claim.release()
        raise


async def _keep(claim: Claim, invocation: Invocation, result: Result) -> Result | None:
    """Keep the answer, together with what the run has done in its transaction."""
    committing = claim.adopted
    try:
        kept = await claim.finish(dump_answer(result))
    except Exception as error:  # noqa: BLE001 - the commit checks constraints of the user's own
        await claim.release()
        if committing:
            return Result(b"", error=failure_from(error))
        _log.error(
            "%s: %s is done, but its answer cannot be kept, so a repetition runs it again: %s",
            invocation.function,
            invocation.id,
            error,
        )
        return result
    if kept:
        return result
    if committing:
        _log.warning(
            "%s: another process runs %s, because this one did not renew its claim in time; what "
            "it has changed was rolled back",
            invocation.function,
            invocation.id,
        )
        return None
    _log.error(
        "%s: %s was run twice: this process did not renew its claim in time, and another one has "
        "run it too; what is changed in ctx.transaction() is changed once",
        invocation.function,
        invocation.id,
    )
    return result


def _reused(request: KeyedRequest) -> InvocationError | Problem:
    if not request.by_header:
        return PayloadInvalid(
            f"{request.function} has had another payload with this idempotency key: use a key for "
            "one payload only"
        )
    return Problem(
        422,
        f"this {HEADER} was used for another request: use a key for one request only",
        title="Idempotency-Key is already used",
    )


def _still_running(request: KeyedRequest) -> InvocationError | Problem:
    if not request.by_header:
        return Throttled(
            f"{request.function} still runs what has this idempotency key", RETRY_SECONDS
        )
    return Problem(
        409,
        f"a request with this {HEADER} still runs: repeat it later",
        title="A request is outstanding for this Idempotency-Key",
        headers={"Retry-After": f"{RETRY_SECONDS:.0f}"},
    )
