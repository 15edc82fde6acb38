"""Which sizes a task on AWS Fargate can have.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from eventmesh.deployment.model import TaskDefinition
from eventmesh.model.errors import SettingsError

MEBI: Final = 2**20
_GIB: Final = 1024

FARGATE: Final[Mapping[int, Sequence[int]]] = {
    256: (512, 1024, 2048),
    512: range(1 * _GIB, 4 * _GIB + 1, _GIB),
    1024: range(2 * _GIB, 8 * _GIB + 1, _GIB),
    2048: range(4 * _GIB, 16 * _GIB + 1, _GIB),
    4096: range(8 * _GIB, 30 * _GIB + 1, _GIB),
    8192: range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB),
    16384: range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB),
}
"""CPU units, 1024 a core, and the MiB of memory that a task may have with them."""


def cpu_units(task: TaskDefinition) -> int:
    """Return the CPU of a task, 1024 units a core, rounded up."""
    return math.ceil(task.cpus * 1024)


def mebibytes(task: TaskDefinition) -> int:
    """Return the memory of a task in MiB, rounded up."""
    return -(-task.memory // MEBI)


def fargate_size(task: TaskDefinition) -> tuple[int, int]:
    """Return the smallest size, in CPU units and MiB, in which a task fits.

    Raises SettingsError for a task that is larger than any.
    """
    cpu, memory = cpu_units(task), mebibytes(task)
    for units, sizes in FARGATE.items():
        fitting = [size for size in sizes if size >= memory]
        if units >= cpu and fitting:
            return units, fitting[0]
    raise SettingsError(
        f"{task.name}: cpus={task.cpus:g} and memory={memory} MiB are more than a task on Fargate "
        "can have, 16 cores and 120 GiB: make it smaller, or set ecs.launch_type=EC2"
    )


def rounding_warnings(tasks: Sequence[TaskDefinition]) -> Iterator[str]:
    """Yield what is paid for and not used: a container keeps its own limits."""
    for task in tasks:
        units, memory = fargate_size(task)
        if memory > mebibytes(task) or units > cpu_units(task):
            yield (
                f"{task.name}: the smallest task on Fargate that holds cpus={task.cpus:g} and "
                f"memory={mebibytes(task)}M has {units / 1024:g} and {memory}M; its container "
                "keeps to the former: set cpus and memory so that all of it is used"
            )
