"""What a broker and its queues are found to be when they are inspected."""

from __future__ import annotations

from eventmesh.model.value import value


@value
class BrokerCommands:
    """The commands with which an operator mends a broker; a queue's name goes behind the first two.

    They are quoted in advice, and not run.
    """

    delete_queue: str
    purge_queue: str
    list_consumers: str


@value
class BrokerInfo:
    """What a broker says of itself.

    `missing` names what it cannot do of what is needed. `tested` says whether its version is among
    `tested_versions`, such as "3.10 to 4.3".
    """

    product: str
    version: str
    cluster: str
    missing: tuple[str, ...]
    tested: bool
    tested_versions: str
    commands: BrokerCommands


@value
class ArgumentDifference:
    """An argument of a queue that differs from the one in the code."""

    argument: str
    found: str
    wanted: str


@value
class QueueInfo:
    """A queue as it is: waiting messages, consumers, and how it differs from the code."""

    messages: int
    consumers: int
    difference: ArgumentDifference | None


@value
class LostMessages:
    """How many delayed messages had no queue to go to when they were due, and where they are."""

    queue: str
    count: int
