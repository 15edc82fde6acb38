"""Which executions wait for which events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = sa.String(255)


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "eventmesh_subscriptions",
        sa.Column(
            "execution",
            _KEY,
            sa.ForeignKey("eventmesh_executions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("operation", _KEY, primary_key=True),
        sa.Column("function", _KEY, nullable=False),
        sa.Column("shape", sa.Text, nullable=False),
        sa.Column("key", _KEY, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
    )
    is_open = sa.text("open")
    op.create_index(
        "eventmesh_subscriptions_open",
        "eventmesh_subscriptions",
        ["function", "shape", "key"],
        postgresql_where=is_open,
        sqlite_where=is_open,
    )
