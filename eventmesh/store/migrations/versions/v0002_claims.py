"""Requests with idempotency keys, and the answers to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.String(255)


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "eventmesh_claims",
        sa.Column("scope", sa.String(64), primary_key=True),
        sa.Column("function", _KEY, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("owner", _KEY, nullable=False),
        sa.Column("number", _KEY, nullable=False),
        sa.Column("lease", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False, index=True),
        sa.Column("answer", sa.LargeBinary),
    )
    unanswered = sa.text("answer IS NULL")
    op.create_index(
        "eventmesh_claims_open",
        "eventmesh_claims",
        ["owner"],
        postgresql_where=unanswered,
        sqlite_where=unanswered,
    )
