"""Which versions of durable functions run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_KEY = sa.String(255)


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "eventmesh_revisions",
        sa.Column("function", _KEY, primary_key=True),
        sa.Column("revision", _KEY, primary_key=True),
        sa.Column("seen", sa.Double, nullable=False),
    )
