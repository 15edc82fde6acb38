"""How the process of a Lambda function is started: its program and its environment."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from typing import Final

from eventmesh.lambdas.function import REGION, LambdaFunction
from eventmesh.model.errors import DeclarationError

_MEBIBYTE: Final = 2**20
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of the service that an instance gets: none that could be a secret."""


def find_command(function: LambdaFunction) -> list[str]:
    """Return the program and its arguments.

    Raises DeclarationError if what the function's runtime needs is not there.
    """
    if function.command:
        return list(function.command)
    runtime = function.runtime
    if runtime.startswith("python"):
        return [_find_python(function), "-m", "awslambdaric", function.handler]
    if runtime.startswith("nodejs"):
        return [_find_node_client(function), function.handler]
    bootstrap = function.code / "bootstrap"
    if not os.access(bootstrap, os.X_OK):
        raise DeclarationError(
            f"{function.full_name}: there is no program {bootstrap}: runtime={runtime!r} starts a "
            "file bootstrap in the folder of the code, which others may execute"
        )
    return [str(bootstrap)]


def _find_python(function: LambdaFunction) -> str:
    wanted = function.runtime
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if wanted in ("python3", own):
        if find_spec("awslambdaric") is None:
            raise DeclarationError(
                f"{function.full_name}: the package awslambdaric is not installed: install "
                "eventmesh[lambda]"
            )
        return sys.executable
    found = shutil.which(wanted)
    if found is None:
        raise DeclarationError(
            f"{function.full_name}: there is no {wanted} on this machine: install it with the "
            f"package awslambdaric, or write runtime={own!r}"
        )
    return found


def _find_node_client(function: LambdaFunction) -> str:
    local = function.code / "node_modules" / ".bin" / "aws-lambda-ric"
    found = str(local) if local.exists() else shutil.which("aws-lambda-ric")
    if found is None:
        raise DeclarationError(
            f"{function.full_name}: there is no aws-lambda-ric: install the package aws-lambda-ric "
            "beside the code, with npm"
        )
    return found


def build_environment(function: LambdaFunction, address: str, stream: str) -> dict[str, str]:
    """Return the variables of an instance: those that AWS sets, and the function's own.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html. `address` is that of
    its Runtime API, `stream` the name of its log stream.
    """
    isolation = function.spec.isolation
    memory = 128 if isolation is None or isolation.memory is None else isolation.memory // _MEBIBYTE
    code = str(function.code)
    return {
        **{name: text for name, text in os.environ.items() if name in _INHERITED},
        "HOME": "/tmp",  # noqa: S108 as on AWS, and only the name of it
        "PYTHONPATH": code,
        "PYTHONUNBUFFERED": "1",
        **function.environment,
        "_HANDLER": function.handler,
        "LAMBDA_TASK_ROOT": code,
        "LAMBDA_RUNTIME_DIR": code,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": function.full_name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.full_name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    }
