"""Event streams are stored as lines of JSON instead of server-sent events."""

import zlib

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_responses = sa.table(
    "responses",
    sa.column("id", sa.Text),
    sa.column("events", sa.LargeBinary),
    sa.column("size", sa.BigInteger),
)


def upgrade() -> None:
    """Rewrite one stream at a time, because all streams may not fit in memory."""
    connection = op.get_bind()
    kept = sa.select(_responses.c.id).where(_responses.c.events.is_not(None))
    for identifier in connection.execute(kept).scalars().all():
        own = _responses.c.id == identifier
        row = connection.execute(
            sa.select(_responses.c.events, _responses.c.size).where(own)
        ).one()
        events = zlib.compress(_lines(zlib.decompress(row.events)))
        size = row.size - len(row.events) + len(events)
        connection.execute(
            sa.update(_responses).where(own).values(events=events, size=size)
        )


def _lines(stream: bytes) -> bytes:
    """The data of each named event. ``[DONE]`` has no name and is left out."""
    found = [frame.partition(b"\ndata: ")[2] for frame in stream.split(b"\n\n")]
    return b"\n".join([data for data in found if data])
