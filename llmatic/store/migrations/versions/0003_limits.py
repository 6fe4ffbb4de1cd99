"""What of the limits is used, what was used by hour and by day, and which of these writes are there."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "limit_states",
        sa.Column("id", sa.String(200)),
        sa.Column("requests", sa.Double, nullable=False),
        sa.Column("tokens", sa.Double, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("day_tokens", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_limit_states"),
    )
    op.create_index("ix_limit_states_updated_at", "limit_states", ["updated_at"])
    op.create_table(
        "numbered_writes",
        sa.Column("id", sa.String(64)),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_numbered_writes"),
    )
    _make_usage("usage", "hour")
    _make_usage("usage_days", "day")


def _make_usage(name: str, time: str) -> None:
    op.create_table(
        name,
        sa.Column("operation", sa.String(32)),
        sa.Column(time, sa.BigInteger),
        sa.Column("key_id", sa.String(200)),
        sa.Column("model", sa.String(200)),
        sa.Column("is_batch", sa.Boolean),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("n_requests", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("operation", time, "key_id", "model", "is_batch", name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )
    op.create_index(f"ix_{name}_key_id_{time}", name, ["key_id", time])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("usage_days")
    op.drop_table("usage")
    op.drop_table("numbered_writes")
    op.drop_table("limit_states")
