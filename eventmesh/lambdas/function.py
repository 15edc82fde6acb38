"""A declared function whose code was written for AWS Lambda."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal, TypeAlias

from eventmesh.engine.spec import FunctionSpec, Implementation
from eventmesh.executions.aws.names import arn
from eventmesh.model.errors import DeclarationError
from eventmesh.model.value import value

RUNTIME = "lambda"
"""The name of the runtime that runs them."""

LogFormat: TypeAlias = Literal["Text", "JSON"]


@value
class LambdaFunction:
    """The code of a Lambda function, and how its process is started in the folder `code`.

    `log_level` is the least that it logs; "" leaves that to it. `layers` are folders with what
    layers have on AWS: `extensions/`, `python/`, `nodejs/node_modules/`, `bin/` and `lib/`.
    """

    spec: FunctionSpec
    code: Path
    handler: str
    runtime: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    log_format: LogFormat = "Text"
    log_level: str = ""
    layers: tuple[Path, ...] = ()

    @property
    def full_name(self) -> str:
        return self.spec.full_name

    @property
    def arn(self) -> str:
        return arn(self.full_name)


def require_lambda(function: Implementation) -> LambdaFunction:
    """Return the function. Raises DeclarationError if it is no Lambda function."""
    if isinstance(function, LambdaFunction):
        return function
    raise DeclarationError(
        f"{function.spec.full_name} is no Lambda function: declare it with "
        "service.lambda_function(…)"
    )
