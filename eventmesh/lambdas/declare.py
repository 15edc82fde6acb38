"""Reads the declaration of a Lambda function."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict, cast, get_args

from eventmesh.engine.options import Destination, FunctionOptions, read_destination, read_options
from eventmesh.engine.spec import FunctionSpec, Trigger
from eventmesh.lambdas.function import RUNTIME, LambdaFunction, LogFormat
from eventmesh.lambdas.schema import EventSchema
from eventmesh.model.access.outgoing import Outgoing
from eventmesh.model.access.policy import Access, read_policy
from eventmesh.model.duration import Duration
from eventmesh.model.errors import DeclarationError
from eventmesh.model.limits import PROCESS, Size
from eventmesh.model.retry import Retry
from eventmesh.model.topology import check_function

DEFAULT_TIMEOUT: Final = 3.0
DEFAULT_MEMORY: Final = "128M"
"""As on AWS Lambda (https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html)."""
DEFAULT_RETRY: Final = Retry(attempts=3, initial="1m", jitter="none")
"""As AWS has it for asynchronous invocations: two more attempts, after one minute and after two
(https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html)."""

LOG_LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""As AWS has them (https://docs.aws.amazon.com/lambda/latest/api/API_LoggingConfig.html)."""

MAX_ENVIRONMENT: Final = 4 * 1024
"""Bytes of all variables of a function, names and values, as on AWS Lambda."""
_VARIABLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RUNTIME: Final = re.compile(r"python3(\.\d+)?|nodejs\d*(\.x)?|provided(\.al\d+)?")
_RESERVED: Final = ("AWS_LAMBDA_", "_HANDLER", "LAMBDA_", "EVENTMESH_")


class LambdaOptions(TypedDict, total=False):
    """The options of a Lambda function beside its code: as those of every other function."""

    timeout: Duration | None
    memory: Size | None
    concurrency: int
    instances: int
    provisioned: int
    idle_timeout: Duration | None
    max_invocations: int | None
    reserved_concurrency: int | None
    max_pending: int | None
    max_payload: int
    retry: Retry
    on_success: Destination | None
    on_failure: Destination | None
    access: Access
    callers: Sequence[str]
    durable: bool
    execution_timeout: Duration | None
    retention: Duration


class Code(TypedDict):
    """Where the code of a Lambda function is, and how it is started."""

    code: str | Path
    handler: str
    runtime: str
    command: Sequence[str] | None
    environment: Mapping[str, str] | None
    log_format: LogFormat
    log_level: str | None
    layers: Sequence[str | Path]


def build_lambda(
    name: str,
    code: Code,
    triggers: tuple[Trigger, ...],
    options: LambdaOptions,
    *,
    base: Path,
    outgoing: Outgoing | None,
) -> LambdaFunction:
    """Check the declaration of the function `name`, "service.function".

    A relative path of the code begins at `base`. Raises DeclarationError, with advice.
    """
    full_name = check_function(name)
    unknown = next((name for name in options if name not in LambdaOptions.__annotations__), None)
    if unknown is not None:
        known = ", ".join(LambdaOptions.__annotations__)
        raise DeclarationError(
            f"{full_name}: a Lambda function has no option {unknown!r}: there are {known}"
        )
    defaults = {"timeout": DEFAULT_TIMEOUT, "memory": DEFAULT_MEMORY, "retry": DEFAULT_RETRY}
    given = cast(FunctionOptions, {**defaults, **options, "isolation": PROCESS})
    declared = read_options(given)
    spec = FunctionSpec(
        full_name=full_name,
        triggers=triggers,
        limits=declared.limits,
        retry=declared.retry,
        on_success=read_destination("on_success", declared.on_success, full_name),
        on_failure=read_destination("on_failure", declared.on_failure, full_name),
        runtime=RUNTIME,
        schema=EventSchema(),
        description=f"A Lambda function, {code['handler']}",
        code_name=code["handler"],
        policy=read_policy(declared.access, declared.callers, full_name),
        outgoing=outgoing,
        isolation=declared.isolation,
        durability=declared.durability,
    )
    return LambdaFunction(
        spec,
        _find_folder(full_name, base / code["code"]),
        _check_handler(full_name, code["handler"]),
        _check_runtime(full_name, code["runtime"], code["command"]),
        tuple(code["command"] or ()),
        _check_environment(full_name, code["environment"] or {}),
        _check_log_format(full_name, code["log_format"]),
        _check_log_level(full_name, code["log_level"]),
        tuple(_find_folder(full_name, base / layer, "layers") for layer in code["layers"]),
    )


def _find_folder(name: str, folder: Path, option: str = "code") -> Path:
    if not folder.is_dir():
        raise DeclarationError(
            f"{name}: there is no folder {folder}: {option}= is the folder with the function's code"
        )
    return folder.resolve()


def _check_handler(name: str, handler: Any) -> str:
    if not isinstance(handler, str) or not handler or not handler.isprintable():
        raise DeclarationError(f"{name}: handler={handler!r}: write 'file.function', as on AWS")
    return handler


def _check_runtime(name: str, runtime: Any, command: Any) -> str:
    if not isinstance(runtime, str) or not (command or _RUNTIME.fullmatch(runtime)):
        raise DeclarationError(
            f"{name}: there is no runtime {runtime!r}: write 'python3.11', 'nodejs22.x', or "
            "'provided' for a file bootstrap, or say with command=[…] what is to be started"
        )
    return runtime


def _check_log_format(name: str, given: LogFormat) -> LogFormat:
    if given not in get_args(LogFormat):
        raise DeclarationError(f"{name}: log_format={given!r}: write 'Text' or 'JSON'")
    return given


def _check_log_level(name: str, given: str | None) -> str:
    if given is not None and given not in LOG_LEVELS:
        known = ", ".join(LOG_LEVELS)
        raise DeclarationError(f"{name}: log_level={given!r}: there are {known}")
    return given or ""


def _check_environment(name: str, given: Mapping[str, str]) -> dict[str, str]:
    for key, text in given.items():
        if not _VARIABLE.fullmatch(str(key)) or not isinstance(text, str) or "\0" in text:
            raise DeclarationError(
                f"{name}: environment={{{key!r}: …}}: names and values are texts"
            )
        if key.startswith(_RESERVED):
            raise DeclarationError(f"{name}: the variable {key!r} is set by the runtime: rename it")
    size = sum(len(key.encode()) + len(text.encode()) for key, text in given.items())
    if size > MAX_ENVIRONMENT:
        raise DeclarationError(
            f"{name}: its environment has {size:,} bytes, and {MAX_ENVIRONMENT:,} at most may it "
            "have: put large values into a file"
        )
    return dict(given)
