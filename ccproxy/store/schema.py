"""The database's tables. A change needs a migration, and a test of the migration.

Responses form trees of nodes, as commits do in git. Each response has a node, which has
the items of the request and then the items of the answer. The node's parent is the node
of the previous response. So a response can be deleted or expire, while the responses
that continue it keep their history. A node without a response and without children is
deleted.

``responses.owner`` is the server that works on a running response. It becomes null when
the response is finished, but not when the response is cancelled or abandoned.
``answers.owner`` is a hash of the API key's id and the account.
"""

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
    String,
    Table,
    Text,
)

metadata = MetaData()

# The newest migration. An empty database gets the tables below without migrations.
REVISION = "0005"

# Alembic's table, with the revision of the database's schema.
versions = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), primary_key=True),
)

# SQLite assigns numbers automatically only to a key of the type INTEGER.
_KEY = BigInteger().with_variant(Integer, "sqlite")

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("parent_id", _KEY, ForeignKey("nodes.id"), index=True),
)

items = Table(
    "items",
    metadata,
    Column("node_id", _KEY, ForeignKey("nodes.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, index=True),
    Column("is_output", Boolean, nullable=False),
    Column("document", LargeBinary, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("id", Text, primary_key=True),
    Column("node_id", _KEY, ForeignKey("nodes.id"), nullable=False, index=True),
    Column("conversation_id", Text),
    Column("created_seconds", BigInteger, nullable=False, index=True),
    Column("status", Text, nullable=False, index=True),
    Column("is_background", Boolean, nullable=False),
    Column("owner", Text),
    Column("document", LargeBinary, nullable=False),
    Column("events", LargeBinary),
    # The size of the document, the events and the items, in bytes.
    Column("size", BigInteger, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_seconds", BigInteger, nullable=False),
    Column("touched_seconds", BigInteger, nullable=False, index=True),
    Column("metadata", LargeBinary, nullable=False),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("day", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("client", Text, primary_key=True),
    Column("answers", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("thinking_tokens", BigInteger, nullable=False),
    Column("cost_nanodollars", BigInteger, nullable=False),
)

# One row for each conversation.
conversation_usage = Table(
    "conversation_usage",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("used_seconds", BigInteger, nullable=False, index=True),
    Column("answers", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("thinking_tokens", BigInteger, nullable=False),
    Column("cost_nanodollars", BigInteger, nullable=False),
)

# One row for each rate limit, with the provider's last report.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("name", Text, primary_key=True),
    Column("used", Double),
    Column("status", Text),
    Column("resets_seconds", Double),
    Column("told_seconds", Double, key="reported_seconds", nullable=False),
)

# The model's messages in tool loops. ``owner``, ``calls`` (the ids of the calls) and
# ``content`` (texts, names and arguments) are hashes.
answers = Table(
    "answers",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("calls", Text, nullable=False),
    Column("said", Text, key="content", nullable=False),
    Column("created_seconds", BigInteger, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
    # The size of the document in bytes, plus an estimate for the row.
    Column("size", BigInteger, nullable=False),
    Index("ix_answers_owner_calls", "owner", "calls"),
    Index("ix_answers_owner_said", "owner", "content"),
)
