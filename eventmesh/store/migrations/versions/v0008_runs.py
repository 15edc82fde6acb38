"""The history of a console: runs that have ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_KEY = sa.String(255)


def upgrade() -> None:
    """Create its table."""
    op.create_table(
        "eventmesh_runs",
        sa.Column("key", sa.String(32), primary_key=True),
        sa.Column("instance", _KEY, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("id", _KEY, nullable=False, index=True),
        sa.Column("function", _KEY, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("duration", sa.Double, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("trigger", _KEY, nullable=False),
        sa.Column("caller", _KEY, nullable=False),
        sa.Column("correlation_id", _KEY, nullable=False, index=True),
        sa.Column("outcome", _KEY, nullable=False),
        sa.Column("error_type", _KEY, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )
    op.create_index("eventmesh_runs_started", "eventmesh_runs", ["started", "key"])
    op.create_index("eventmesh_runs_functions", "eventmesh_runs", ["function", "started", "key"])
