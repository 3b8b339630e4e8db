"""Adds the table of the usage by conversation."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table of the usage by conversation."""
    counts = (
        *("answers", "input_tokens", "cache_read_tokens", "cache_write_tokens"),
        *("output_tokens", "thinking_tokens", "cost_nanodollars"),
    )
    op.create_table(
        "conversation_usage",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("used_seconds", sa.BigInteger, nullable=False, index=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
    )
