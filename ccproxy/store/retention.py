"""What is kept too long, or is too much. Everything here blocks.

In batches, so that nobody who wants to write waits long.
"""

from sqlalchemy import Connection, func, select

from ccproxy.store.conversations import delete_conversation
from ccproxy.store.records import RUNNING
from ccproxy.store.responses import delete_response
from ccproxy.store.schema import conversations, responses

_BATCH = 100


def expire_responses(connection: Connection, before_seconds: float) -> int:
    """Delete some responses that are older; returns how many."""
    old = connection.execute(
        select(responses.c.id)
        .where(
            responses.c.created_seconds < before_seconds,
            responses.c.status.not_in(RUNNING),
        )
        .order_by(responses.c.created_seconds)
        .limit(_BATCH)
    )
    return sum(delete_response(connection, name) for name in old.scalars().all())


def expire_conversations(connection: Connection, before_seconds: float) -> int:
    """Delete some conversations that nobody has touched since; returns how many."""
    old = connection.execute(
        select(conversations.c.id)
        .where(conversations.c.touched_seconds < before_seconds)
        .limit(_BATCH)
    )
    return sum(delete_conversation(connection, name) for name in old.scalars().all())


def shrink(connection: Connection, keep_bytes: int) -> int:
    """Delete some of the oldest responses if all are more than that.

    Returns:
        How many.
    """
    sizes = select(func.coalesce(func.sum(responses.c.size), 0))
    excess = connection.execute(sizes).scalar_one() - keep_bytes
    oldest = connection.execute(
        select(responses.c.id, responses.c.size)
        .where(responses.c.status.not_in(RUNNING))
        .order_by(responses.c.created_seconds)
        .limit(_BATCH)
    ).all()
    count = 0
    for row in oldest:
        if excess <= 0:
            break
        delete_response(connection, row.id)
        excess -= row.size
        count += 1
    return count
