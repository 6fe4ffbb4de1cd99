"""Responses and conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _make_responses()
    _make_conversations()


def downgrade() -> None:
    """Drop them."""
    for table in ("conversation_items", "conversations", "response_items", "responses"):
        op.drop_table(table)


def _make_responses() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String(64)),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("previous_id", sa.String(64)),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("n_events", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("lease_until", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
    )
    op.create_index("ix_responses_expires_at", "responses", ["expires_at"])
    op.create_index("ix_responses_lease_until", "responses", ["lease_until"])
    op.create_table(
        "response_items",
        sa.Column("response_id", sa.String(64)),
        sa.Column("position", sa.Integer, autoincrement=False),
        sa.Column("item_id", sa.String(64), nullable=False),
        sa.Column("is_output", sa.Boolean, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("response_id", "position", name="pk_response_items"),
        sa.ForeignKeyConstraint(
            ["response_id"], ["responses.id"], name="fk_response_items_response_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_response_items_item_id", "response_items", ["item_id"])


def _make_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(64)),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("n_items", sa.BigInteger, nullable=False),
        sa.Column("next_position", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_table(
        "conversation_items",
        sa.Column("conversation_id", sa.String(64)),
        sa.Column("position", sa.BigInteger, autoincrement=False),
        sa.Column("item_id", sa.String(64), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "position", name="pk_conversation_items"),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name="fk_conversation_items_conversation_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_conversation_items_item_id", "conversation_items", ["item_id"])
