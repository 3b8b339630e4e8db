"""Stores conversations, each with a list of items that grows.

The functions below the class run queries, and block.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from sqlalchemy import Connection, delete, func, insert, select, update

from ccproxy.store.database import Database
from ccproxy.store.records import (
    NO_LIMIT,
    Conversation,
    Item,
    Page,
    TooLarge,
    UnknownItem,
    is_possible_id,
    page_of,
)
from ccproxy.store.schema import conversation_items, conversations


class ConversationStore:
    """Conversations with their metadata and items.

    Every method raises `StorageFailed` if the database fails.

    Args:
        wall_seconds: returns the Unix time.
        make_room: called before each write, with the number of new bytes.
    """

    def __init__(
        self,
        database: Database,
        wall_seconds: Callable[[], float],
        make_room: Callable[[int], Awaitable[None]],
    ) -> None:
        self._database = database
        self._wall_seconds = wall_seconds
        self._make_room = make_room

    async def create(self, conversation: Conversation, items: Sequence[Item]) -> None:
        """Store a new conversation."""
        await self._make_room(sum(len(item.document) for item in items))
        await self._database.write(_create, conversation, items)

    async def get(self, identifier: str) -> Conversation | None:
        """A conversation without its items; None: there is none with this id."""
        if not is_possible_id(identifier):
            return None
        return await self._database.read(_get, identifier)

    async def set_metadata(
        self, identifier: str, metadata: bytes
    ) -> Conversation | None:
        """Replace a conversation's metadata; None: there is none with this id."""
        if not is_possible_id(identifier):
            return None
        return await self._database.write(
            _set_metadata, identifier, metadata, self._now()
        )

    async def delete(self, identifier: str) -> bool:
        """Delete a conversation with its items; False: there is none with this id."""
        if not is_possible_id(identifier):
            return False
        return await self._database.write(delete_conversation, identifier)

    async def append(self, identifier: str, items: Sequence[Item]) -> bool:
        """Append items to a conversation; False: there is no such conversation."""
        if not is_possible_id(identifier):
            return False
        await self._make_room(sum(len(item.document) for item in items))
        return await self._database.write(append, identifier, items, self._now())

    async def used_item_ids(
        self, identifier: str, item_ids: Iterable[str]
    ) -> frozenset[str]:
        """Those of ``item_ids`` that the conversation already contains."""
        wanted = [name for name in item_ids if is_possible_id(name)]
        if not (wanted and is_possible_id(identifier)):
            return frozenset()
        return await self._database.read(_used_item_ids, identifier, wanted)

    async def items(
        self, identifier: str, most_bytes: int = NO_LIMIT
    ) -> tuple[Item, ...] | None:
        """All items, oldest first; None: there is no such conversation.

        Raises:
            TooLarge: the items have more than ``most_bytes``; none was read.
        """
        if not is_possible_id(identifier):
            return None
        return await self._database.read(_items, identifier, most_bytes)

    async def page(
        self, identifier: str, *, after: str | None, limit: int, descending: bool
    ) -> Page | None:
        """A page of the items; None: there is no such conversation.

        Raises:
            UnknownItem: the item after which the page should begin does not exist.
        """
        if not is_possible_id(identifier):
            return None
        if after is not None and not is_possible_id(after):
            raise UnknownItem(after)
        return await self._database.read(_page, identifier, after, limit, descending)

    async def item(self, identifier: str, item_id: str) -> bytes | None:
        """The document of the newest item with this id; None: there is none."""
        if not (is_possible_id(identifier) and is_possible_id(item_id)):
            return None
        return await self._database.read(_item, identifier, item_id)

    async def delete_item(self, identifier: str, item_id: str) -> bool:
        """Delete all items with this id; False: there is none."""
        if not (is_possible_id(identifier) and is_possible_id(item_id)):
            return False
        return await self._database.write(_delete_item, identifier, item_id)

    def _now(self) -> int:
        return int(self._wall_seconds())


def _create(
    connection: Connection, conversation: Conversation, items: Sequence[Item]
) -> None:
    connection.execute(
        insert(conversations).values(
            id=conversation.id,
            created_seconds=conversation.created_seconds,
            touched_seconds=conversation.created_seconds,
            metadata=conversation.metadata,
        )
    )
    append(connection, conversation.id, items, conversation.created_seconds)


def _get(connection: Connection, identifier: str) -> Conversation | None:
    row = connection.execute(
        select(
            conversations.c.id,
            conversations.c.created_seconds,
            conversations.c.metadata,
        ).where(conversations.c.id == identifier)
    ).one_or_none()
    return None if row is None else Conversation(*row)


def _set_metadata(
    connection: Connection, identifier: str, metadata: bytes, touched_seconds: int
) -> Conversation | None:
    connection.execute(
        update(conversations)
        .where(conversations.c.id == identifier)
        .values(metadata=metadata, touched_seconds=touched_seconds)
    )
    return _get(connection, identifier)


def delete_conversation(connection: Connection, identifier: str) -> bool:
    """Delete a conversation and its items, but not its responses; blocks."""
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
    """Append items to a conversation; blocks.

    Returns:
        False if there is no such conversation.
    """
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


def _used_item_ids(
    connection: Connection, identifier: str, item_ids: Sequence[str]
) -> frozenset[str]:
    found = connection.execute(
        select(conversation_items.c.id).where(
            conversation_items.c.conversation_id == identifier,
            conversation_items.c.id.in_(item_ids),
        )
    )
    return frozenset(found.scalars())


def _items(
    connection: Connection, identifier: str, most_bytes: int
) -> tuple[Item, ...] | None:
    if _get(connection, identifier) is None:
        return None
    size = select(
        func.coalesce(func.sum(func.length(conversation_items.c.document)), 0)
    )
    own = conversation_items.c.conversation_id == identifier
    size_bytes = int(connection.execute(size.where(own)).scalar_one())
    if size_bytes > most_bytes:
        raise TooLarge(size_bytes)
    found = connection.execute(
        select(conversation_items.c.id, conversation_items.c.document)
        .where(conversation_items.c.conversation_id == identifier)
        .order_by(conversation_items.c.position)
    )
    return tuple(Item(*row) for row in found)


def _page(
    connection: Connection,
    identifier: str,
    after: str | None,
    limit: int,
    descending: bool,
) -> Page | None:
    if _get(connection, identifier) is None:
        return None
    keys = connection.execute(
        select(
            conversation_items.c.id,
            conversation_items.c.position,
            func.length(conversation_items.c.document).label("size"),
        )
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


def _item(connection: Connection, identifier: str, item_id: str) -> bytes | None:
    return connection.execute(
        select(conversation_items.c.document)
        .where(
            conversation_items.c.conversation_id == identifier,
            conversation_items.c.id == item_id,
        )
        .order_by(conversation_items.c.position.desc())
        .limit(1)
    ).scalar_one_or_none()


def _delete_item(connection: Connection, identifier: str, item_id: str) -> bool:
    done = connection.execute(
        delete(conversation_items).where(
            conversation_items.c.conversation_id == identifier,
            conversation_items.c.id == item_id,
        )
    )
    return done.rowcount > 0
