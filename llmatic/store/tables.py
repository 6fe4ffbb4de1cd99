"""Every table, as the newest migration leaves it.

Owns the columns. Times are whole microseconds since 1970 (UTC), so that lists have an order; the API divides.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

EXECUTED: Final = "interaction IS NOT NULL"  # most runs are of no interaction

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("models", Text),
    Column("limits", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("used_at", BigInteger),
    Index(None, "created_at", "id"),
)

secret_marks: Final = Table(
    "secret_marks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("mark", String(64), nullable=False),
)

files: Final = Table(
    "files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("shown", Text, nullable=False),
    Index(None, "owner", "created_at", "id"),
    Index(None, "owner", "purpose", "created_at", "id"),
    Index(None, "expires_at"),
)

# What the files of each owner weigh together, changed with them.
file_totals: Final = Table(
    "file_totals",
    metadata,
    Column("owner", String(200), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
)

responses: Final = Table(
    "responses",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("status", String(16), nullable=False),
    Column("previous_id", String(64)),
    Column("body", Text, nullable=False),
    Column("n_events", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("lease_until", BigInteger),
    Index(None, "expires_at"),
    Index(None, "lease_until"),
)

response_items: Final = Table(
    "response_items",
    metadata,
    Column("response_id", String(64), ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("item_id", String(64), nullable=False),
    Column("is_output", Boolean, nullable=False),
    Column("data", Text, nullable=False),
    Index(None, "item_id"),
)

conversations: Final = Table(
    "conversations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("metadata", Text, nullable=False),
    Column("n_items", BigInteger, nullable=False),
    Column("next_position", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

conversation_items: Final = Table(
    "conversation_items",
    metadata,
    Column(
        "conversation_id", String(64), ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("position", BigInteger, primary_key=True),
    Column("item_id", String(64), nullable=False),
    Column("data", Text, nullable=False),
    Index(None, "item_id"),
)

runs: Final = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("key_id", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("is_stored", SmallInteger, nullable=False),
    Column("model", String(200), nullable=False),
    Column("interaction", String(64)),
    Column("status", String(16), nullable=False),
    Column("summary", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index(None, "owner", "created_at", "id"),
    Index(None, "owner", "model", "created_at", "id"),
    Index(None, "owner", "model", "status", "created_at", "id"),
    Index(None, "owner", "status", "created_at", "id"),
    Index(None, "owner", "is_stored", "created_at", "id"),
    Index(None, "owner", "is_stored", "model", "created_at", "id"),
    *(
        Index(None, *columns, sqlite_where=text(EXECUTED), postgresql_where=text(EXECUTED))
        for columns in (
            ("owner", "interaction", "created_at", "id"),
            ("owner", "interaction", "status", "created_at", "id"),
            ("owner", "interaction", "model", "created_at", "id"),
            ("owner", "interaction", "model", "status", "created_at", "id"),
        )
    ),
    Index(None, "expires_at"),
)

# What was asked and answered, which no list shows.
run_bodies: Final = Table(
    "run_bodies",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("request", Text, nullable=False),
    Column("reply", Text),
)

# By what else runs are found: digests of tags, pairs of metadata, parents. With that of the run which a label
# can be searched for together with.
_LABELLED: Final = ("owner", "label")
run_labels: Final = Table(
    "run_labels",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("label", String(32), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("model", String(200), nullable=False),
    Column("interaction", String(64)),
    Column("odd_status", String(16)),  # none: it was completed, as nearly all are
    # By each, in the order of creation; the others behind, so that the rows themselves need not be read.
    Index("ix_run_labels_list", *_LABELLED, "created_at", "run_id", "model", "odd_status", "interaction"),
    Index("ix_run_labels_model", *_LABELLED, "model", "created_at", "run_id", "odd_status", "interaction"),
    Index(
        "ix_run_labels_odd_status",
        *(*_LABELLED, "odd_status", "created_at", "run_id", "model", "interaction"),
        sqlite_where=text("odd_status IS NOT NULL"),
        postgresql_where=text("odd_status IS NOT NULL"),
    ),
    Index(
        "ix_run_labels_interaction",
        *(*_LABELLED, "interaction", "created_at", "run_id", "model", "odd_status"),
        sqlite_where=text(EXECUTED),
        postgresql_where=text(EXECUTED),
    ),
    sqlite_with_rowid=False,
)

interactions: Final = Table(
    "interactions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("parent", String(64)),
    Column("definition", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("updated_by", String(200), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("owner", "name", "version"),
    Index(None, "owner", "created_at", "id"),
    Index(None, "owner", "status", "created_at", "id"),
    Index(None, "owner", "version", "created_at", "id"),
    Index(None, "owner", "status", "version", "created_at", "id"),
)

batches: Final = Table(
    "batches",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("caller", Text, nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", String(64), nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("model", Text),
    Column("metadata", Text),
    Column("errors", Text),
    Column("output_lifetime_s", BigInteger),
    Column("output_file_id", String(64)),
    Column("error_file_id", String(64)),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("expired_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("cancelled_at", BigInteger),
    Column("n_total", BigInteger, nullable=False),
    Column("n_completed", BigInteger, nullable=False),
    Column("n_failed", BigInteger, nullable=False),
    Column("n_input_tokens", BigInteger, nullable=False),
    Column("n_cached_tokens", BigInteger, nullable=False),
    Column("n_output_tokens", BigInteger, nullable=False),
    Column("n_reasoning_tokens", BigInteger, nullable=False),
    Column("n_parts", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("holder", String(64)),
    Column("lease_until", BigInteger),
    Index(None, "owner", "created_at", "id"),
    Index(None, "lease_until"),
)

batch_parts: Final = Table(
    "batch_parts",
    metadata,
    Column("batch_id", String(64), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("lines", Text, nullable=False),
    Column("n_output_bytes", BigInteger, nullable=False),
    Column("blob", String(200)),
    Column("data", LargeBinary),
)

limit_states: Final = Table(
    "limit_states",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("requests", Double, nullable=False),
    Column("tokens", Double, nullable=False),
    Column("day", Integer, nullable=False),
    Column("day_tokens", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "updated_at"),
)

numbered_writes: Final = Table(
    "numbered_writes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("written_at", BigInteger, nullable=False),
)


def _usage(name: str, time: str) -> Table:
    """The operation leads the key: reports are about one each, over some time."""
    return Table(
        name,
        metadata,
        Column("operation", String(32), primary_key=True),
        Column(time, BigInteger, primary_key=True),
        Column("key_id", String(200), primary_key=True),
        Column("model", String(200), primary_key=True),
        Column("is_batch", Boolean, primary_key=True),
        Column("owner", String(200), nullable=False),
        Column("n_requests", BigInteger, nullable=False),
        Column("input_tokens", BigInteger, nullable=False),
        Column("cached_tokens", BigInteger, nullable=False),
        Column("output_tokens", BigInteger, nullable=False),
        Index(None, "key_id", time),
        sqlite_with_rowid=False,
    )


usage: Final = _usage("usage", "hour")
usage_days: Final = _usage("usage_days", "day")  # the same by day: a month has too many hours to add up

uploads: Final = Table(
    "uploads",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("filename", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("lifetime_s", BigInteger),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("part_ids", Text),
    Column("file_id", String(64)),
    Index(None, "owner", "status"),
    Index(None, "expires_at"),
)

upload_parts: Final = Table(
    "upload_parts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("upload_id", String(64), ForeignKey("uploads.id"), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

blob_stores: Final = Table(
    "blob_stores",
    metadata,
    Column("id", String(64), primary_key=True),
)
