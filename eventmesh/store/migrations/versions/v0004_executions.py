"""The executions of durable functions, their operations and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KEY = sa.String(255)


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "eventmesh_executions",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("service", _KEY, nullable=False),
        sa.Column("function", _KEY, nullable=False),
        sa.Column("name", _KEY, nullable=False),
        sa.Column("status", _KEY, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("ended", sa.Double),
        sa.Column("wake", sa.Double),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index(
        "eventmesh_executions_names", "eventmesh_executions", ["function", "name"], unique=True
    )
    op.create_index(
        "eventmesh_executions_started", "eventmesh_executions", ["function", "started", "id"]
    )
    ended = sa.text("ended IS NOT NULL")
    op.create_index(
        "eventmesh_executions_ended",
        "eventmesh_executions",
        ["function", "ended"],
        postgresql_where=ended,
        sqlite_where=ended,
    )
    op.create_table(
        "eventmesh_operations",
        sa.Column(
            "execution",
            _KEY,
            sa.ForeignKey("eventmesh_executions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("changed", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("eventmesh_operations_places", "eventmesh_operations", ["execution", "place"])
    op.create_table(
        "eventmesh_events",
        sa.Column(
            "execution",
            _KEY,
            sa.ForeignKey("eventmesh_executions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
    )
