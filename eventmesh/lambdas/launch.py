"""How the process of a Lambda function is started: its program and its environment."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from importlib.util import find_spec
from typing import Final

from eventmesh.executions.aws.names import REGION
from eventmesh.lambdas.function import LambdaFunction
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


def _find_paths(function: LambdaFunction) -> dict[str, str]:
    """Return the variables that say where programs and libraries are: the code's, then layers'."""
    layers = function.layers
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = [function.code]
    for layer in layers:
        python += [layer / "python", layer / "python" / "lib" / version / "site-packages"]
    found = {"PYTHONPATH": os.pathsep.join(map(str, python))}
    if layers:
        own = os.environ.get("PATH", os.defpath)
        found["PATH"] = os.pathsep.join([own, *(str(layer / "bin") for layer in layers)])
        found["LD_LIBRARY_PATH"] = os.pathsep.join(str(layer / "lib") for layer in layers)
        modules = (str(layer / "nodejs" / "node_modules") for layer in layers)
        found["NODE_PATH"] = os.pathsep.join(modules)
    return found


def build_environment(function: LambdaFunction, address: str, stream: str) -> dict[str, str]:
    """Return the variables of an instance: those that AWS sets, and the function's own.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html. `address` is that of
    its Runtime API, `stream` the name of its log stream.
    """
    isolation = function.spec.isolation
    memory = 128 if isolation is None or isolation.memory is None else isolation.memory // _MEBIBYTE
    code = str(function.code)
    logging: dict[str, str] = {"AWS_LAMBDA_LOG_FORMAT": function.log_format}
    if function.log_level:
        logging["AWS_LAMBDA_LOG_LEVEL"] = function.log_level
    concurrency = function.spec.instance_concurrency
    shared = {} if concurrency == 1 else {"AWS_LAMBDA_MAX_CONCURRENCY": str(concurrency)}
    return {
        **{name: text for name, text in os.environ.items() if name in _INHERITED},
        "HOME": "/tmp",  # noqa: S108 as on AWS, and only the name of it
        **_find_paths(function),
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
        **logging,
        **shared,
        **({} if function.spec.durability is None else _build_access(function, address)),
    }


def _build_access(function: LambdaFunction, address: str) -> dict[str, str]:
    """Return the variables by which AWS's SDK records the executions of a durable function.

    It signs what it sends, and what reads it asks whose connection it is instead: the credentials
    mean nothing anywhere, and stand back for those that the function was given.
    """
    found = {"AWS_ENDPOINT_URL_LAMBDA": f"http://{address}"}
    if "AWS_ACCESS_KEY_ID" not in function.environment:
        found |= {"AWS_ACCESS_KEY_ID": "eventmesh", "AWS_SECRET_ACCESS_KEY": secrets.token_hex()}
    return found
