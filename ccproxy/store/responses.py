"""Responses and their chains, as queries. Everything here blocks.

A response that is over has no owner; see `schema` for what a chain is.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import (
    CTE,
    Connection,
    Row,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy import exists as exists_

from ccproxy.store.conversations import append
from ccproxy.store.pages import page_of
from ccproxy.store.records import (
    RUNNING,
    FinalResponse,
    Item,
    NewResponse,
    Page,
    ResponseChain,
    StoredResponse,
    Vanished,
)
from ccproxy.store.schema import conversation_items, items, nodes, responses

_SAID = ("completed", "incomplete")
_CANCELLED = "cancelled"
_FAILED = "failed"
# SQLite takes 32,766 of them in a statement, PostgreSQL 65,535.
_MOST_PARAMETERS = 1000


def begin(connection: Connection, new: NewResponse, owner: str) -> None:
    """Keep a response that is about to run."""
    node = _insert_node(connection, new)
    size = len(new.document) + _insert_items(connection, node, 0, new.input, False)
    connection.execute(
        insert(responses).values(
            id=new.id,
            node_id=node,
            conversation_id=new.conversation_id,
            created_seconds=new.created_seconds,
            status=new.status,
            is_background=new.is_background,
            owner=owner,
            document=new.document,
            size=size,
        )
    )


def advance(connection: Connection, identifier: str, status: str) -> bool:
    """Note how far a response is; False if it is over."""
    running = (responses.c.id == identifier) & responses.c.status.in_(RUNNING)
    done = connection.execute(update(responses).where(running).values(status=status))
    return done.rowcount > 0


def finish(
    connection: Connection, identifier: str, ending: FinalResponse, owner: str, now: int
) -> bool:
    """Keep how a response of this server's ended; False if it was taken away.

    Others may have held the server for dead: it knows better.
    """
    row = connection.execute(
        select(responses)
        .where(
            responses.c.id == identifier,
            responses.c.owner == owner,
            responses.c.status.in_((*RUNNING, _FAILED)),
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        return False
    own = items.c.node_id == row.node_id
    first = connection.execute(
        select(func.count()).select_from(items).where(own)
    ).scalar_one()
    events = zlib.compress(ending.events)
    size = row.size - len(row.document) + len(ending.document) + len(events)
    size += _insert_items(connection, row.node_id, first, ending.output, True)
    connection.execute(
        update(responses)
        .where(responses.c.id == identifier)
        .values(
            status=ending.status,
            document=ending.document,
            events=events,
            owner=None,
            size=size,
        )
    )
    # What failed or was cancelled is no part of what was said.
    if row.conversation_id is not None and ending.status in _SAID:
        said = connection.execute(
            select(items.c.id, items.c.document).where(own).order_by(items.c.position)
        )
        append(connection, row.conversation_id, [Item(*item) for item in said], now)
    return True


def save(
    connection: Connection,
    new: NewResponse,
    ending: FinalResponse,
    owner: str,
    now: int,
) -> None:
    """Keep a whole response."""
    # Between the two it is as if it ran; what its end makes of it, `finish` knows.
    begin(connection, evolve(new, status=RUNNING[-1]), owner)
    if not finish(connection, new.id, ending, owner, now):
        raise Vanished("the response was taken away while it was kept")


def _insert_node(connection: Connection, new: NewResponse) -> int:
    parent = None
    if new.previous_id is not None:
        parent = connection.execute(
            select(responses.c.node_id).where(responses.c.id == new.previous_id)
        ).scalar_one_or_none()
        if parent is None:
            # Without it the chain would be another than the one that was answered.
            raise Vanished("the response that this one continues was deleted meanwhile")
    made = insert(nodes).values(parent_id=parent).returning(nodes.c.id)
    return int(connection.execute(made).scalar_one())


def _insert_items(
    connection: Connection, node: int, first: int, new: Sequence[Item], is_output: bool
) -> int:
    """Returns how many bytes that was."""
    if new:
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


def cancel(connection: Connection, identifier: str) -> None:
    """End a response that is not over, whoever works on it."""
    advance(connection, identifier, _CANCELLED)


def running(connection: Connection, identifiers: Iterable[str]) -> frozenset[str]:
    """Those of them that nobody has ended."""
    wanted = responses.c.id.in_(list(identifiers))
    found = connection.execute(
        select(responses.c.id).where(wanted, responses.c.status != _CANCELLED)
    )
    return frozenset(found.scalars())


def fail_abandoned(
    connection: Connection, is_alive: Callable[[Connection, str], bool]
) -> int:
    """Mark what dead servers have left unfinished; returns how many."""
    found = connection.execute(
        select(responses.c.owner).where(responses.c.status.in_(RUNNING)).distinct()
    )
    dead = [owner for owner in found.scalars().all() if not is_alive(connection, owner)]
    count = 0
    for owner in dead:
        done = connection.execute(
            update(responses)
            .where(responses.c.owner == owner, responses.c.status.in_(RUNNING))
            .values(status=_FAILED)
        )
        count += done.rowcount
    return count


def get(connection: Connection, identifier: str) -> StoredResponse | None:
    """One response."""
    row = connection.execute(
        select(
            responses.c.id,
            responses.c.created_seconds,
            responses.c.status,
            responses.c.document,
            responses.c.is_background,
        ).where(responses.c.id == identifier)
    ).one_or_none()
    return None if row is None else StoredResponse(**row._mapping)


def events(connection: Connection, identifier: str) -> bytes | None:
    """The stream that told it; None if it is not kept, or not over."""
    found = connection.execute(
        select(responses.c.events).where(responses.c.id == identifier)
    ).scalar_one_or_none()
    return None if found is None else zlib.decompress(found)


def chain(connection: Connection, identifier: str) -> ResponseChain | None:
    """A response and all before it."""
    row = _place(connection, identifier)
    if row is None:
        return None
    line = _line(row.node_id)
    found = connection.execute(
        select(items.c.id, items.c.document)
        .join(line, items.c.node_id == line.c.id)
        .order_by(line.c.depth.desc(), items.c.position)
    )
    said = tuple(Item(*item) for item in found)
    return ResponseChain(row.status, said, row.conversation_id)


def input_items(
    connection: Connection,
    identifier: str,
    after: str | None,
    limit: int,
    descending: bool,
) -> Page | None:
    """A page of all that the response was given: its own input and what came before.

    Raises:
        UnknownItem: there is no item to begin after.
    """
    row = _place(connection, identifier)
    if row is None:
        return None
    line = _line(row.node_id)
    # Its own answer is not what it was given.
    given = (line.c.depth > 0) | (items.c.is_output.is_(False))
    keys = connection.execute(
        select(items.c.id, items.c.node_id, items.c.position)
        .join(line, items.c.node_id == line.c.id)
        .where(given)
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


def _place(connection: Connection, identifier: str) -> Row[Any, Any, Any] | None:
    return connection.execute(
        select(
            responses.c.node_id, responses.c.status, responses.c.conversation_id
        ).where(responses.c.id == identifier)
    ).one_or_none()


def _line(node: int) -> CTE:
    """A node and its ancestors, each with its distance."""
    own = select(nodes.c.id, nodes.c.parent_id, literal(0).label("depth"))
    line = own.where(nodes.c.id == node).cte("line", recursive=True)
    parents = select(nodes.c.id, nodes.c.parent_id, line.c.depth + 1)
    return line.union_all(parents.join(line, nodes.c.id == line.c.parent_id))


def items_by_id(
    connection: Connection, identifiers: Iterable[str]
) -> Mapping[str, bytes]:
    """The newest item of each id."""
    every = list(dict.fromkeys(identifiers))
    found: dict[str, bytes] = {}
    for begin in range(0, len(every), _MOST_PARAMETERS):
        wanted = every[begin : begin + _MOST_PARAMETERS]
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


def delete_response(connection: Connection, identifier: str) -> bool:
    """Delete one, with what only it needed."""
    row = _place(connection, identifier)
    if row is None:
        return False
    connection.execute(delete(responses).where(responses.c.id == identifier))
    _collect(connection, row.node_id)
    return True


def _collect(connection: Connection, node: int | None) -> None:
    """Delete a node, and its ancestors, as far as nothing needs them."""
    while node is not None:
        row = connection.execute(
            # Whoever is about to continue it holds it until that is visible.
            select(nodes.c.parent_id).where(nodes.c.id == node).with_for_update()
        ).one_or_none()
        is_needed = connection.execute(
            select(
                exists_().where(nodes.c.parent_id == node)
                | exists_().where(responses.c.node_id == node)
            )
        ).scalar_one()
        if row is None or is_needed:
            return
        connection.execute(delete(items).where(items.c.node_id == node))
        connection.execute(delete(nodes).where(nodes.c.id == node))
        node = row.parent_id
