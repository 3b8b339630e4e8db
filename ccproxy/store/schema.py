"""The tables. A change here needs a migration, and a test of it.

A conversation is a tree of nodes, as in git: each response has a node (the items that
its request brought, then those of its answer) whose parent is the node of the
response that it continued. So a response can be deleted, or expire, without what
came after it losing its past; a node goes when nothing needs it any more.

``responses.owner`` is the server that works on it, until it is over;
``answers.owner`` is the client whose answer it is.
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

# Of the newest migration: an empty database is given these tables as they stand here.
REVISION = "0003"

# Alembic's own, which notes what a database is of.
versions = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), primary_key=True),
)

# SQLite counts up by itself only in a column of exactly this type.
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
    # Of everything that was kept for it, in bytes.
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

# One row a window: what was told of it last.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("name", Text, primary_key=True),
    Column("used", Double),
    Column("status", Text),
    Column("resets_seconds", Double),
    Column("told_seconds", Double, nullable=False),
)

# The model's own messages in loops of calls. Who they are for, which calls they make
# and what they say are hashes.
answers = Table(
    "answers",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("calls", Text, nullable=False),
    Column("said", Text, nullable=False),
    Column("created_seconds", BigInteger, nullable=False, index=True),
    Column("document", LargeBinary, nullable=False),
    # In bytes.
    Column("size", BigInteger, nullable=False),
    Index("ix_answers_owner_calls", "owner", "calls"),
    Index("ix_answers_owner_said", "owner", "said"),
)
