"""What became of asynchronous invocations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = sa.String(255)


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "eventmesh_results",
        sa.Column("function", _KEY, primary_key=True),
        sa.Column("id", _KEY, primary_key=True, index=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False, index=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("too_large", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )
    told_to_end = sa.text("cancel AND state = 'running'")
    op.create_index(
        "eventmesh_results_cancelled",
        "eventmesh_results",
        ["function"],
        postgresql_where=told_to_end,
        sqlite_where=told_to_end,
    )
