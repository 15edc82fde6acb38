"""Messages that are sent in transactions, until they are handled: one module for each subject.

`python -m benchmarks.outbox.NAME JOB` has `job.count` orders placed: a request over RabbitMQ runs a
handler, which writes a row and sends the order to another handler, all in one process. (Only the
peer's is called in the process itself.) It reports
once: how long one alone takes from the request until it is handled (`p50`, `p99`), how many a
second are with `job.in_flight` requests at once (`rate`), and how long each of those then takes
from its commit until it is handled (`lag`, p99).
"""

from __future__ import annotations

from typing import Final

MODE: Final = "EVENTMESH_BENCH_OUTBOX"
"""The variable that says what eventmesh does: one of `MODES`."""

MODES: Final = ("plain", "store", "kept", "dead")
"""Without a store; in transactions; the same where tables have `ROWS` rows; where those died."""

ROWS: Final = "EVENTMESH_BENCH_ROWS"
"""The variable with the number of those rows."""

TABLE: Final = "CREATE TABLE IF NOT EXISTS placed (id text PRIMARY KEY, total int NOT NULL)"
INSERT: Final = "INSERT INTO placed VALUES (:id, 1)"
"""What a transaction writes beside its message."""
