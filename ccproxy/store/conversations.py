"""Conversations, as queries. Everything here blocks."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, select, update

from ccproxy.store.pages import page_of
from ccproxy.store.records import Conversation, Item, Page
from ccproxy.store.schema import conversation_items, conversations


def create(
    connection: Connection, conversation: Conversation, items: Sequence[Item]
) -> None:
    """Keep a new one."""
    connection.execute(
        insert(conversations).values(
            id=conversation.id,
            created_seconds=conversation.created_seconds,
            touched_seconds=conversation.created_seconds,
            metadata=conversation.metadata,
        )
    )
    append(connection, conversation.id, items, conversation.created_seconds)


def get(connection: Connection, identifier: str) -> Conversation | None:
    """One, without its items."""
    row = connection.execute(
        select(
            conversations.c.id,
            conversations.c.created_seconds,
            conversations.c.metadata,
        ).where(conversations.c.id == identifier)
    ).one_or_none()
    return None if row is None else Conversation(*row)


def set_metadata(
    connection: Connection, identifier: str, metadata: bytes, touched_seconds: int
) -> Conversation | None:
    """Replace the metadata."""
    connection.execute(
        update(conversations)
        .where(conversations.c.id == identifier)
        .values(metadata=metadata, touched_seconds=touched_seconds)
    )
    return get(connection, identifier)


def delete_conversation(connection: Connection, identifier: str) -> bool:
    """Delete one with its items; responses that were made in it stay."""
    connection.execute(
        delete(conversation_items).where(
            conversation_items.c.conversation_id == identifier
        )
    )
    done = connection.execute(
        delete(conversations).where(conversations.c.id == identifier)
    )
    return done.rowcount > 0


def append(
    connection: Connection,
    identifier: str,
    items: Sequence[Item],
    touched_seconds: int,
) -> bool:
    """Add items at the end; False, and nothing added, if there is no such one."""
    found = connection.execute(
        select(conversations.c.touched_seconds)
        .where(conversations.c.id == identifier)
        .with_for_update()
    ).one_or_none()
    if found is None:
        return False
    last = connection.execute(
        select(func.max(conversation_items.c.position)).where(
            conversation_items.c.conversation_id == identifier
        )
    ).scalar_one()
    first = 0 if last is None else last + 1
    rows = [
        {
            "conversation_id": identifier,
            "position": position,
            "id": item.id,
            "document": item.document,
        }
        for position, item in enumerate(items, start=first)
    ]
    if rows:
        connection.execute(insert(conversation_items), rows)
    connection.execute(
        update(conversations)
        .where(conversations.c.id == identifier)
        .values(touched_seconds=touched_seconds)
    )
    return True


def taken(
    connection: Connection, identifier: str, item_ids: Sequence[str]
) -> frozenset[str]:
    """Those of some ids that items of it have already."""
    found = connection.execute(
        select(conversation_items.c.id).where(
            conversation_items.c.conversation_id == identifier,
            conversation_items.c.id.in_(item_ids),
        )
    )
    return frozenset(found.scalars())


def whole(connection: Connection, identifier: str) -> tuple[Item, ...] | None:
    """All items, oldest first."""
    if get(connection, identifier) is None:
        return None
    found = connection.execute(
        select(conversation_items.c.id, conversation_items.c.document)
        .where(conversation_items.c.conversation_id == identifier)
        .order_by(conversation_items.c.position)
    )
    return tuple(Item(*row) for row in found)


def page(
    connection: Connection,
    identifier: str,
    after: str | None,
    limit: int,
    descending: bool,
) -> Page | None:
    """A page of its items.

    Raises:
        UnknownItem: there is no item to begin after.
    """
    if get(connection, identifier) is None:
        return None
    keys = connection.execute(
        select(conversation_items.c.id, conversation_items.c.position)
        .where(conversation_items.c.conversation_id == identifier)
        .order_by(conversation_items.c.position)
    ).all()
    wanted, has_more = page_of(keys, after, limit, descending)
    positions = [key.position for key in wanted]
    rows = connection.execute(
        select(conversation_items).where(
            conversation_items.c.conversation_id == identifier,
            conversation_items.c.position.in_(positions),
        )
    )
    by_position = {row.position: Item(row.id, row.document) for row in rows}
    return Page(tuple(by_position[position] for position in positions), has_more)


def item(connection: Connection, identifier: str, item_id: str) -> bytes | None:
    """One item; the newest of its id."""
    return connection.execute(
        select(conversation_items.c.document)
        .where(
            conversation_items.c.conversation_id == identifier,
            conversation_items.c.id == item_id,
        )
        .order_by(conversation_items.c.position.desc())
        .limit(1)
    ).scalar_one_or_none()


def delete_item(connection: Connection, identifier: str, item_id: str) -> bool:
    """Delete every item of that id from a conversation."""
    done = connection.execute(
        delete(conversation_items).where(
            conversation_items.c.conversation_id == identifier,
            conversation_items.c.id == item_id,
        )
    )
    return done.rowcount > 0
