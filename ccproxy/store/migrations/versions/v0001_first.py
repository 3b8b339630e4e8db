"""The tables of version 0.1."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of version 0.1."""
    key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "secrets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("id", key, primary_key=True, autoincrement=True),
        sa.Column("parent_id", key, sa.ForeignKey("nodes.id"), index=True),
    )
    op.create_table(
        "items",
        sa.Column("node_id", key, sa.ForeignKey("nodes.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, index=True),
        sa.Column("is_output", sa.Boolean, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "responses",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "node_id", key, sa.ForeignKey("nodes.id"), nullable=False, index=True
        ),
        sa.Column("conversation_id", sa.Text),
        sa.Column("created_seconds", sa.BigInteger, nullable=False, index=True),
        sa.Column("status", sa.Text, nullable=False, index=True),
        sa.Column("is_background", sa.Boolean, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("events", sa.LargeBinary),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("created_seconds", sa.BigInteger, nullable=False),
        sa.Column("touched_seconds", sa.BigInteger, nullable=False, index=True),
        sa.Column("metadata", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "conversation_items",
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, index=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
