"""What the handlers share: which requirement each is for, and what several of them do."""

import os
from dataclasses import dataclass
from pathlib import Path

from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import Duration, JitterStrategy, StepConfig
from aws_durable_execution_sdk_python.retries import (
    RetryPresets,
    RetryStrategyConfig,
    create_retry_strategy,
)
from aws_durable_execution_sdk_python.serdes import SerDes

SECOND = Duration.from_seconds(1)
NO_RETRY = StepConfig(retry_strategy=RetryPresets.none())
NOTES = "CONFORMANCE_NOTES"
"""The variable that names the folder where a run leaves notes for the runs after it."""


@dataclass(frozen=True)
class Handler:
    """A durable function: where it is, and the requirements of the suite that it is for.

    `is_prompt` tells that a process of it is to be ready: the suite expects that a turn has ended
    before something happens two seconds later, and on a busy machine a start takes as long.
    """

    module: str
    name: str
    requirements: tuple[str, ...]
    is_prompt: bool

    @property
    def function(self):
        """Its own name in the mesh."""
        return f"{self.module}_{self.name}"

    @property
    def resource(self):
        """Its logical name in a template: greet_named of steps.py is StepsGreetNamed."""
        return "".join(part.title() for part in self.function.split("_"))


HANDLERS = []


def durable(*requirements, plugins=None, is_prompt=False):
    """Make a durable function of a handler, and declare which requirements it is for."""

    def declare(handler):
        module = handler.__module__.rpartition(".")[2]
        HANDLERS.append(Handler(module, handler.__name__, requirements, is_prompt))
        return durable_execution(handler, plugins=plugins)

    return declare


def retrying(attempts, delay=1, rate=1, types=None):
    """Return the configuration of a step that is tried so often, without jitter."""
    strategy = create_retry_strategy(
        RetryStrategyConfig(
            max_attempts=attempts,
            initial_delay=Duration.from_seconds(delay),
            backoff_rate=rate,
            jitter_strategy=JitterStrategy.NONE,
            retryable_error_types=types,
        )
    )
    return StepConfig(retry_strategy=strategy)


def fail(*_):
    """Fail, as a step, a branch, a submitter or a child context."""
    raise RuntimeError("this fails whenever it is run")


def is_first(key):
    """Tell whether nobody has asked for this key before, in any process."""
    try:
        (Path(os.environ[NOTES]) / key).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def crash():
    """End the process as a fault in native code would: nothing is cleaned up."""
    os._exit(1)


class UppercaseSerDes(SerDes):
    """Records a text in upper case, without quotes."""

    def serialize(self, value, _):
        return value.upper()

    def deserialize(self, data, _):
        return data
