"""Executions that time should have changed are found without reading all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the index."""
    open_ones = sa.text("ended IS NULL")
    op.create_index(
        "eventmesh_executions_wakes",
        "eventmesh_executions",
        ["function", "wake"],
        postgresql_where=open_ones,
        sqlite_where=open_ones,
    )
