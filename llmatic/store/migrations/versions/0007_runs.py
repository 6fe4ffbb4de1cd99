"""Runs, their bodies and labels; interactions."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LISTS = (
    ("owner", "created_at", "id"),
    ("owner", "model", "created_at", "id"),
    ("owner", "model", "status", "created_at", "id"),
    ("owner", "status", "created_at", "id"),
    ("owner", "is_stored", "created_at", "id"),
    ("owner", "is_stored", "model", "created_at", "id"),
)
_EXECUTED = sa.text("interaction IS NOT NULL")
_EXECUTED_LISTS = (
    ("owner", "interaction", "created_at", "id"),
    ("owner", "interaction", "status", "created_at", "id"),
    ("owner", "interaction", "model", "created_at", "id"),
    ("owner", "interaction", "model", "status", "created_at", "id"),
)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        sa.Column("id", sa.String(64)),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("key_id", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("is_stored", sa.SmallInteger, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("interaction", sa.String(64)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    for columns in _LISTS:
        op.create_index(f"ix_runs_{'_'.join(columns)}", "runs", list(columns))
    for executed in _EXECUTED_LISTS:
        name = f"ix_runs_{'_'.join(executed)}"
        op.create_index(name, "runs", list(executed), sqlite_where=_EXECUTED, postgresql_where=_EXECUTED)
    op.create_index("ix_runs_expires_at", "runs", ["expires_at"])
    op.create_table(
        "run_bodies",
        sa.Column("run_id", sa.String(64)),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("reply", sa.Text),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_bodies"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_bodies_run_id", ondelete="CASCADE"),
    )
    op.create_table(
        "run_labels",
        sa.Column("run_id", sa.String(64)),
        sa.Column("label", sa.String(32)),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("interaction", sa.String(64)),
        sa.Column("odd_status", sa.String(16)),
        sa.PrimaryKeyConstraint("run_id", "label", name="pk_run_labels"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_labels_run_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    for name, lead, rest in (
        ("list", (), ("model", "odd_status", "interaction")),
        ("model", ("model",), ("odd_status", "interaction")),
        ("odd_status", ("odd_status",), ("model", "interaction")),
        ("interaction", ("interaction",), ("model", "odd_status")),
    ):
        labelled = ["owner", "label", *lead, "created_at", "run_id", *rest]
        where = sa.text(f"{name} IS NOT NULL") if name in ("odd_status", "interaction") else None
        op.create_index(
            f"ix_run_labels_{name}", "run_labels", labelled, sqlite_where=where, postgresql_where=where
        )
    _make_interactions()


def _make_interactions() -> None:
    op.create_table(
        "interactions",
        sa.Column("id", sa.String(64)),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("parent", sa.String(64)),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("updated_by", sa.String(200), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_interactions"),
        sa.UniqueConstraint("owner", "name", "version", name="uq_interactions_owner_name_version"),
    )
    for more in ((), ("status",), ("version",), ("status", "version")):
        columns = ("owner", *more, "created_at", "id")
        op.create_index(f"ix_interactions_{'_'.join(columns)}", "interactions", list(columns))


def downgrade() -> None:
    """Drop them."""
    for table in ("interactions", "run_labels", "run_bodies", "runs"):
        op.drop_table(table)
