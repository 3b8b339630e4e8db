"""Queries for the nodes of responses, and for the items of nodes. They block.

`ccproxy.store.schema` explains the nodes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, Connection, delete, func, insert, literal, select, tuple_
from sqlalchemy import exists as exists_

from ccproxy.store.records import Item, Page, ReferenceDeleted, TooLarge, page_of
from ccproxy.store.schema import conversation_items, items, nodes, responses

# SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535.
_MOST_PARAMETERS = 1000


def add_node(connection: Connection, previous_id: str | None) -> int:
    """Add a node, as the child of the previous response's node; returns its id.

    Raises:
        ReferenceDeleted: the previous response does not exist.
    """
    parent = None
    if previous_id is not None:
        parent = connection.execute(
            select(responses.c.node_id).where(responses.c.id == previous_id)
        ).scalar_one_or_none()
        if parent is None:
            # Without the parent, the stored history would differ from the model's.
            raise ReferenceDeleted(
                "the response that this one continues was deleted in the meantime"
            )
    made = insert(nodes).values(parent_id=parent).returning(nodes.c.id)
    return int(connection.execute(made).scalar_one())


def add_items(
    connection: Connection, node: int, new: Sequence[Item], *, is_output: bool
) -> int:
    """Add items at the end of a node; returns the bytes of their documents."""
    if not new:
        return 0
    own = select(func.count()).select_from(items).where(items.c.node_id == node)
    first = connection.execute(own).scalar_one()
    rows = [
        {
            "node_id": node,
            "position": position,
            "id": item.id,
            "is_output": is_output,
            "document": item.document,
        }
        for position, item in enumerate(new, start=first)
    ]
    connection.execute(insert(items), rows)
    return sum(len(item.document) for item in new)


def node_items(connection: Connection, node: int) -> tuple[Item, ...]:
    """The items of one node, oldest first."""
    found = connection.execute(
        select(items.c.id, items.c.document)
        .where(items.c.node_id == node)
        .order_by(items.c.position)
    )
    return tuple(Item(*row) for row in found)


def check_size(connection: Connection, documents: Any, most_bytes: int) -> int:
    """Check the total size of a query's documents without reading them.

    Args:
        connection: to the database.
        documents: a query that selects one column of documents.
        most_bytes: the limit.

    Returns:
        The total size in bytes.

    Raises:
        TooLarge: the documents have more than ``most_bytes``.
    """
    [column] = documents.selected_columns
    total = documents.with_only_columns(func.coalesce(func.sum(func.length(column)), 0))
    size_bytes = int(connection.execute(total.order_by(None)).scalar_one())
    if size_bytes > most_bytes:
        raise TooLarge(size_bytes)
    return size_bytes


def chain_items(connection: Connection, node: int, most_bytes: int) -> tuple[Item, ...]:
    """The items of a node and of its ancestors, oldest first."""
    line = _ancestry(node)
    check_size(
        connection,
        select(items.c.document).join(line, items.c.node_id == line.c.id),
        most_bytes,
    )
    found = connection.execute(
        select(items.c.id, items.c.document)
        .join(line, items.c.node_id == line.c.id)
        .order_by(line.c.depth.desc(), items.c.position)
    )
    return tuple(Item(*row) for row in found)


def input_page(
    connection: Connection,
    node: int,
    after: str | None,
    limit: int,
    descending: bool,
) -> Page:
    """A page of a node's input and of all items of its ancestors.

    Raises:
        UnknownItem: the item after which the page should begin does not exist.
    """
    line = _ancestry(node)
    is_input = (line.c.depth > 0) | (items.c.is_output.is_(False))
    keys = connection.execute(
        select(
            items.c.id,
            items.c.node_id,
            items.c.position,
            func.length(items.c.document).label("size"),
        )
        .join(line, items.c.node_id == line.c.id)
        .where(is_input)
        .order_by(line.c.depth.desc(), items.c.position)
    ).all()
    wanted, has_more = page_of(keys, after, limit, descending)
    places = [(key.node_id, key.position) for key in wanted]
    place = tuple_(items.c.node_id, items.c.position)
    documents = {
        (row.node_id, row.position): row.document
        for row in connection.execute(select(items).where(place.in_(places)))
    }
    found = [Item(key.id, documents[key.node_id, key.position]) for key in wanted]
    return Page(tuple(found), has_more)


def _ancestry(node: int) -> CTE:
    """A node (depth 0) and its ancestors (depth 1 and more)."""
    own = select(nodes.c.id, nodes.c.parent_id, literal(0).label("depth"))
    line = own.where(nodes.c.id == node).cte("line", recursive=True)
    parents = select(nodes.c.id, nodes.c.parent_id, line.c.depth + 1)
    return line.union_all(parents.join(line, nodes.c.id == line.c.parent_id))


def items_by_id(
    connection: Connection, identifiers: Iterable[str], most_bytes: int
) -> Mapping[str, bytes]:
    """The newest item of each id; responses take precedence over conversations."""
    every = list(dict.fromkeys(identifiers))
    found: dict[str, bytes] = {}
    for begin in range(0, len(every), _MOST_PARAMETERS):
        wanted = every[begin : begin + _MOST_PARAMETERS]
        for table in (conversation_items, items):
            named = select(table.c.document).where(table.c.id.in_(wanted))
            most_bytes -= check_size(connection, named, most_bytes)
        for row in connection.execute(
            select(conversation_items.c.id, conversation_items.c.document)
            .where(conversation_items.c.id.in_(wanted))
            .order_by(conversation_items.c.position)
        ):
            found[row.id] = row.document
        for row in connection.execute(
            select(items.c.id, items.c.document)
            .where(items.c.id.in_(wanted))
            .order_by(items.c.node_id, items.c.position)
        ):
            found[row.id] = row.document
    return found


def delete_unused(connection: Connection, node: int | None) -> None:
    """Delete a node and its ancestors, but stop at a node with a response or child."""
    while node is not None:
        row = connection.execute(
            # With PostgreSQL, a transaction that adds a child locks this row, too.
            select(nodes.c.parent_id).where(nodes.c.id == node).with_for_update()
        ).one_or_none()
        is_used = connection.execute(
            select(
                exists_().where(nodes.c.parent_id == node)
                | exists_().where(responses.c.node_id == node)
            )
        ).scalar_one()
        if row is None or is_used:
            return
        connection.execute(delete(items).where(items.c.node_id == node))
        connection.execute(delete(nodes).where(nodes.c.id == node))
        node = row.parent_id
