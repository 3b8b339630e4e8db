"""Remembered answers: the model's messages in tool loops."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table of remembered answers."""
    key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "answers",
        sa.Column("id", key, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("calls", sa.Text, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sa.Column("created_seconds", sa.BigInteger, nullable=False, index=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_answers_owner_calls", "answers", ["owner", "calls"])
    op.create_index("ix_answers_owner_said", "answers", ["owner", "said"])
