"""Batches."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
_COUNTS = (
    "n_total",
    "n_completed",
    "n_failed",
    "n_input_tokens",
    "n_cached_tokens",
    "n_output_tokens",
    "n_reasoning_tokens",
    "n_parts",
    "generation",
)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "batches",
        sa.Column("id", sa.String(64)),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("input_file_id", sa.String(64), nullable=False),
        sa.Column("completion_window", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("metadata", sa.Text),
        sa.Column("errors", sa.Text),
        sa.Column("output_lifetime_s", sa.BigInteger),
        sa.Column("output_file_id", sa.String(64)),
        sa.Column("error_file_id", sa.String(64)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in _TIMES),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTS),
        sa.Column("holder", sa.String(64)),
        sa.Column("lease_until", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index("ix_batches_owner_created_at_id", "batches", ["owner", "created_at", "id"])
    op.create_index("ix_batches_lease_until", "batches", ["lease_until"])
    op.create_table(
        "batch_parts",
        sa.Column("batch_id", sa.String(64)),
        sa.Column("number", sa.BigInteger),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("n_output_bytes", sa.BigInteger, nullable=False),
        sa.Column("blob", sa.String(200)),
        sa.Column("data", sa.LargeBinary),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_parts"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("batch_parts")
    op.drop_table("batches")
