"""Names of functions and of executions as clients of AWS Lambda write them."""

from __future__ import annotations

import re
from typing import Final

from eventmesh.durable.execution import Execution
from eventmesh.model.value import value

REGION: Final = "xx-mesh-1"
ACCOUNT: Final = "000000000000"
"""What stands in ARNs, where AWS has its own: neither means anything here."""

LATEST: Final = "$LATEST"
"""The only version of a function."""

_NAME: Final = re.compile(
    r"(?:arn:aws[a-z-]*:lambda:)?(?:[a-z]{2}(?:-[a-z]+)+-[0-9]:)?(?:[0-9]{12}:)?(?:function:)?"
    r"(?P<name>[A-Za-z0-9_.-]+)(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]+))?"
)
_EXECUTION: Final = re.compile(
    r"arn:[^:]*:lambda:[^:]*:[^:]*:function:(?P<function>[^:/]+):[^:/]+"
    r"/durable-execution/(?P<name>[^/]+)/(?P<id>[^/]+)"
)
_MAX_ARN: Final = 1024


@value
class ExecutionName:
    """What the ARN of an execution says."""

    function: str
    name: str
    id: str


def parse_name(text: str) -> tuple[str, str] | None:
    """Parse the name and the qualifier ("" if there is none); None if it is not a function name.

    It may be a name, an ARN (`arn:aws:lambda:REGION:ACCOUNT:function:NAME`) or a part of one
    (`ACCOUNT:function:NAME`), each with `:QUALIFIER` at its end or without. Region and account
    mean nothing here.
    """
    found = _NAME.fullmatch(text)
    return None if found is None else (found["name"], found["qualifier"] or "")


def arn(name: str) -> str:
    """Build the ARN of a function, as messages have it."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def version_arn(name: str) -> str:
    """Build the ARN of the only version of a function."""
    return f"{arn(name)}:{LATEST}"


def build_execution_arn(function: str, name: str, id: str) -> str:
    """Build the ARN of an execution."""
    return f"{version_arn(function)}/durable-execution/{name}/{id}"


def execution_arn(execution: Execution) -> str:
    """Build the ARN of an execution; its last part is the id."""
    return build_execution_arn(execution.function, execution.name, execution.id)


def parse_execution_arn(text: str) -> ExecutionName | None:
    """Parse the ARN of an execution; None if it is none."""
    found = _EXECUTION.fullmatch(text[:_MAX_ARN])
    if found is None:
        return None
    return ExecutionName(found["function"], found["name"], found["id"])
