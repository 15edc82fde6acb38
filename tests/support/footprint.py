"""What a process has: tasks, connections to RabbitMQ, memory."""

import asyncio
import gc
from pathlib import Path
from typing import NamedTuple

from aiormq.abc import AbstractChannel, AbstractConnection

from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection

STATUS = Path("/proc/self/status")
KINDS = (AmqpConnection, Channel, AbstractConnection, AbstractChannel)


class Footprint(NamedTuple):
    """`objects` are connections and channels in memory, open or not; `memory` is in KiB."""

    tasks: int
    objects: int
    memory: int


def footprint():
    """That of this process, now."""
    gc.collect()
    objects = sum(isinstance(one, KINDS) for one in gc.get_objects())
    return Footprint(len(asyncio.all_tasks()), objects, memory("VmRSS"))


def memory(which):
    """KiB of this process: "VmRSS" now, "VmHWM" at most (proc_pid_status(5)).

    Not `ru_maxrss`, which a new process inherits from the one that started it.
    """
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))
