"""The tables of the store, as migrations/ makes them. Times are seconds since the epoch.

All are in this module, so that `metadata` is complete for whoever compares it with a database.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata: Final = MetaData()

_ID: Final = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by an INTEGER PRIMARY KEY alone."""

MAX_KEY: Final = 255
"""Characters of what rows are found by: keys of order, ids, names of services and functions."""

outbox: Final = Table(
    "eventmesh_outbox",
    metadata,
    Column("id", _ID, Identity(always=True), primary_key=True),
    Column("service", String(MAX_KEY), nullable=False),
    Column("lane", Integer, nullable=False),
    Column("order_key", String(MAX_KEY), nullable=False),
    Column("destination", Text, nullable=False),
    Column("properties", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("stored", Double, nullable=False),
    Column("due", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before", Double),
    Column("error", Text),
    Index("eventmesh_outbox_lanes", "service", "lane", "id"),
    Index(
        "eventmesh_outbox_blocked",
        "service",
        "order_key",
        postgresql_where=text("not_before IS NOT NULL"),
        sqlite_where=text("not_before IS NOT NULL"),
    ),
)
"""Messages that are committed and not yet published. `destination` is empty for an event."""

inbox: Final = Table(
    "eventmesh_inbox",
    metadata,
    Column("function", String(MAX_KEY), primary_key=True),
    Column("id", String(MAX_KEY), primary_key=True),
    Column("expires", Double, nullable=False, index=True),
)
"""Marks of invocations that are done."""

lanes: Final = Table(
    "eventmesh_lanes",
    metadata,
    Column("service", String(MAX_KEY), primary_key=True),
    Column("lane", Integer, primary_key=True),
    Column("owner", String(MAX_KEY), nullable=False),
    Column("expires", Double, nullable=False),
)
"""Which relay publishes which part of a service's outbox."""

relays: Final = Table(
    "eventmesh_relays",
    metadata,
    Column("service", String(MAX_KEY), primary_key=True),
    Column("owner", String(MAX_KEY), primary_key=True),
    Column("expires", Double, nullable=False),
)
"""The relays that run, among which the lanes are shared."""

claims: Final = Table(
    "eventmesh_claims",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("function", String(MAX_KEY), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("owner", String(MAX_KEY), nullable=False),
    Column("number", String(MAX_KEY), nullable=False),
    Column("lease", Double, nullable=False),
    Column("expires", Double, nullable=False, index=True),
    Column("answer", LargeBinary),
    Index(
        "eventmesh_claims_open",
        "owner",
        postgresql_where=text("answer IS NULL"),
        sqlite_where=text("answer IS NULL"),
    ),
)
"""Requests with idempotency keys: who runs them, and the answers of those that are done."""

results: Final = Table(
    "eventmesh_results",
    metadata,
    Column("function", String(MAX_KEY), primary_key=True),
    Column("id", String(MAX_KEY), primary_key=True, index=True),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("expires", Double, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("too_large", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    Index(
        "eventmesh_results_cancelled",
        "function",
        postgresql_where=text("cancel AND state = 'running'"),
        sqlite_where=text("cancel AND state = 'running'"),
    ),
)
"""What became of asynchronous invocations, and which of them are to be cancelled."""

LANES: Final = 8
"""Parts of a service's outbox: so many processes share its publishing at most."""

executions: Final = Table(
    "eventmesh_executions",
    metadata,
    Column("id", String(MAX_KEY), primary_key=True),
    Column("service", String(MAX_KEY), nullable=False),
    Column("function", String(MAX_KEY), nullable=False),
    Column("name", String(MAX_KEY), nullable=False),
    Column("status", String(MAX_KEY), nullable=False),
    Column("started", Double, nullable=False),
    Column("ended", Double),
    Column("wake", Double),
    Column("state", Text, nullable=False),
    Index("eventmesh_executions_names", "function", "name", unique=True),
    Index("eventmesh_executions_started", "function", "started", "id"),
    Index(
        "eventmesh_executions_ended",
        "function",
        "ended",
        postgresql_where=text("ended IS NOT NULL"),
        sqlite_where=text("ended IS NOT NULL"),
    ),
    Index(
        "eventmesh_executions_wakes",
        "function",
        "wake",
        postgresql_where=text("ended IS NULL"),
        sqlite_where=text("ended IS NULL"),
    ),
)
"""`state` has all that is known of an execution; the other columns are what it is found by."""

operations: Final = Table(
    "eventmesh_operations",
    metadata,
    Column(
        "execution",
        String(MAX_KEY),
        ForeignKey("eventmesh_executions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("id", String(MAX_KEY), primary_key=True),
    Column("place", Integer, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Index("eventmesh_operations_places", "execution", "place"),
)
"""`place` counts the operations of an execution in the order in which they started."""

revisions: Final = Table(
    "eventmesh_revisions",
    metadata,
    Column("function", String(MAX_KEY), primary_key=True),
    Column("revision", String(MAX_KEY), primary_key=True),
    Column("seen", Double, nullable=False),
)
"""Which versions of durable functions run: `seen` is when one was noted last."""

subscriptions: Final = Table(
    "eventmesh_subscriptions",
    metadata,
    Column(
        "execution",
        String(MAX_KEY),
        ForeignKey("eventmesh_executions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("operation", String(MAX_KEY), primary_key=True),
    Column("function", String(MAX_KEY), nullable=False),
    Column("shape", Text, nullable=False),
    Column("key", String(MAX_KEY), nullable=False),
    Column("open", Boolean, nullable=False),
    Column("event", Text, nullable=False),
    Index(
        "eventmesh_subscriptions_open",
        "function",
        "shape",
        "key",
        postgresql_where=text("open"),
        sqlite_where=text("open"),
    ),
)
"""What operations wait for; `event` is the id of the one that ended the wait, or ""."""

events: Final = Table(
    "eventmesh_events",
    metadata,
    Column(
        "execution",
        String(MAX_KEY),
        ForeignKey("eventmesh_executions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("id", Integer, primary_key=True),
    Column("state", Text, nullable=False),
)
"""The history: rows are only appended, and dropped with their execution."""

runs: Final = Table(
    "eventmesh_runs",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("instance", String(MAX_KEY), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("id", String(MAX_KEY), nullable=False, index=True),
    Column("function", String(MAX_KEY), nullable=False),
    Column("started", Double, nullable=False),
    Column("duration", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("trigger", String(MAX_KEY), nullable=False),
    Column("caller", String(MAX_KEY), nullable=False),
    Column("correlation_id", String(MAX_KEY), nullable=False, index=True),
    Column("outcome", String(MAX_KEY), nullable=False),
    Column("error_type", String(MAX_KEY), nullable=False),
    Column("error", Text, nullable=False),
    Index("eventmesh_runs_started", "started", "key"),
    Index("eventmesh_runs_functions", "function", "started", "key"),
)
"""The history of a console: runs that have ended, as far as processes told it. No payloads."""
