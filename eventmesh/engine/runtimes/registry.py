"""Chooses the runtime of a function: here, and nowhere else."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, cast

from eventmesh.engine.spec import Runtime
from eventmesh.model.errors import DeclarationError
from eventmesh.plugins import RUNTIMES, load_plugin, plugin_names

INLINE: Final = "inline"
THREAD: Final = "thread"
PROCESS: Final = "process"
LAMBDA: Final = "lambda"
DURABLE: Final = "durable"

_BUILT_IN: Final[Mapping[str, tuple[str, str]]] = {
    INLINE: ("eventmesh.engine.runtimes.inline", "InlineRuntime"),
    THREAD: ("eventmesh.engine.runtimes.thread", "ThreadRuntime"),
    # An adapter, above the engine: it is imported only where a function is isolated.
    PROCESS: ("eventmesh.instances.runtime", "ProcessRuntime"),
    DURABLE: ("eventmesh.executions.runtime", "DurableRuntime"),
    LAMBDA: ("eventmesh.lambdas.runtime", "LambdaRuntime"),
}


def choose_runtime(
    function: str,
    wanted: str | None,
    *,
    is_async: bool,
    isolated: bool = False,
    durable: bool = False,
) -> str:
    """Find the name of the runtime of a Python function, from the one that its options name.

    Unless it names one, coroutine functions run in the event loop and others in threads, and both
    in processes of their own if they are isolated. Raises
    DeclarationError for a name that nothing provides, and for a function it cannot run.
    """
    default = INLINE if is_async else THREAD
    if durable:
        if wanted not in (None, DURABLE) or isolated or not is_async:
            raise DeclarationError(
                f"{function}: a durable function is a coroutine function that runs in the event "
                "loop: write async def, and leave runtime= and isolation= out; what needs a "
                "process of its own is a function that it invokes"
            )
        return DURABLE
    if wanted == DURABLE:
        raise DeclarationError(f"{function}: write durable=True and not runtime='durable'")
    if isolated:
        if wanted not in (None, PROCESS):
            raise DeclarationError(
                f"{function}: isolation='process' and runtime={wanted!r} exclude each other: leave "
                "one of them out"
            )
        return PROCESS
    if wanted == LAMBDA:
        raise DeclarationError(f"{function}: declare Lambda functions by service.lambda_function")
    if wanted == PROCESS:
        raise DeclarationError(f"{function}: write isolation='process' and not runtime='process'")
    if wanted is None or wanted == default:
        return default
    if wanted in _BUILT_IN:
        kind = "a coroutine function" if is_async else "not a coroutine function"
        raise DeclarationError(
            f"{function}: runtime={wanted!r} cannot run it, because it is {kind}: leave the option "
            f"out, or write runtime={default!r}"
        )
    check_runtime(wanted)
    return wanted


def check_runtime(name: str) -> None:
    """Raise DeclarationError if nothing provides a runtime of that name."""
    if name in _BUILT_IN:
        return
    known = sorted({*_BUILT_IN, *plugin_names(RUNTIMES)})
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        advice = f"did you mean {near[0]!r}" if near else f"there are {', '.join(known)}"
        raise DeclarationError(
            f"there is no runtime {name!r}: {advice}. Other runtimes are in packages: install the "
            "one that provides it"
        )


def load_runtime(name: str) -> Runtime:
    """Make the runtime of that name. Raises DeclarationError if nothing provides it."""
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        provided: object = getattr(import_module(module), attribute)
    else:
        check_runtime(name)
        provided = load_plugin(RUNTIMES, name)
    return cast(Callable[[], Runtime], provided)()
