"""The outbox, the marks of what is done, and the lanes of the relays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KEY = sa.String(255)


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "eventmesh_outbox",
        sa.Column("id", _ID, sa.Identity(always=True), primary_key=True),
        sa.Column("service", _KEY, nullable=False),
        sa.Column("lane", sa.Integer, nullable=False),
        sa.Column("order_key", _KEY, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("properties", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("stored", sa.Double, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double),
        sa.Column("error", sa.Text),
    )
    op.create_index("eventmesh_outbox_lanes", "eventmesh_outbox", ["service", "lane", "id"])
    blocked = sa.text("not_before IS NOT NULL")
    op.create_index(
        "eventmesh_outbox_blocked",
        "eventmesh_outbox",
        ["service", "order_key"],
        postgresql_where=blocked,
        sqlite_where=blocked,
    )
    op.create_table(
        "eventmesh_inbox",
        sa.Column("function", _KEY, primary_key=True),
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("expires", sa.Double, nullable=False, index=True),
    )
    op.create_table(
        "eventmesh_lanes",
        sa.Column("service", _KEY, primary_key=True),
        sa.Column("lane", sa.Integer, primary_key=True),
        sa.Column("owner", _KEY, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
    )
    op.create_table(
        "eventmesh_relays",
        sa.Column("service", _KEY, primary_key=True),
        sa.Column("owner", _KEY, primary_key=True),
        sa.Column("expires", sa.Double, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Nearly every row of these is deleted soon: by a fifth of the table, as usual, the relay
        # would read past more dead rows than live ones.
        for table in ("eventmesh_outbox", "eventmesh_inbox"):
            op.execute(
                f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0, "
                "autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0.2, "
                "autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000)"
            )
