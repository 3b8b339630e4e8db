"""Stores the responses of the Responses API, their items and their event streams.

A running response has an owner: the server that works on it. Several servers may share
a database, so another server may cancel or delete a response while its owner works.
The functions below the class run queries, and block.
"""

import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, Row, delete, insert, select, update
from twisted.logger import Logger

from ccproxy.store import chains
from ccproxy.store.conversations import append
from ccproxy.store.database import Database
from ccproxy.store.records import (
    NO_LIMIT,
    RUNNING,
    FinalResponse,
    Item,
    NewResponse,
    Page,
    ReferenceDeleted,
    ResponseChain,
    StoredResponse,
    UnknownItem,
    is_possible_id,
)
from ccproxy.store.schema import responses

_ANSWERED = ("completed", "incomplete")
_CANCELLED = "cancelled"
_FAILED = "failed"
_LINE_END = b"\n"
_log = Logger()


class ResponseStore:
    """Responses with their items and event streams.

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

    async def begin(self, new: NewResponse) -> None:
        """Store a response that this server starts to work on."""
        await self._make_room(_size(new.document, new.input))
        await self._database.write(_begin, new, self._database.owner)

    async def set_status(self, identifier: str, status: str) -> bool:
        """Change the status of a running response; False: it is not running."""
        return await self._database.write(_set_status, identifier, status)

    async def finish(self, identifier: str, final: FinalResponse) -> bool:
        """Store the end of a response; False: it was cancelled or deleted elsewhere."""
        await self._make_room(_size(final.document, final.output))
        return await self._database.write(
            _finish, identifier, final, self._database.owner, self._now()
        )

    async def save(self, new: NewResponse, final: FinalResponse) -> None:
        """Store a response that has begun and ended."""
        await self._make_room(_size(final.document, (*new.input, *final.output)))
        await self._database.write(save, new, final, self._database.owner, self._now())

    async def cancel(self, identifier: str) -> StoredResponse | None:
        """Cancel a response if it is running; returns its state afterwards."""
        if not is_possible_id(identifier):
            return None
        await self._database.write(_set_status, identifier, _CANCELLED)
        return await self.get(identifier)

    async def still_running(self, identifiers: Iterable[str]) -> frozenset[str]:
        """Those of the given responses that no server has cancelled or deleted."""
        return await self._database.read(_not_cancelled, list(identifiers))

    async def get(self, identifier: str) -> StoredResponse | None:
        """The current state of a response; None: there is none with this id."""
        if not is_possible_id(identifier):
            return None
        found = await self._database.read(_get, identifier)
        if found is not None and found.is_running:
            # The server that owns the response may be dead.
            await fail_abandoned(self._database)
            found = await self._database.read(_get, identifier)
        return found

    async def events(self, identifier: str) -> bytes | None:
        """The events of a finished response, as lines; None: none are stored."""
        if not is_possible_id(identifier):
            return None
        return await self._database.read(_events, identifier)

    async def chain(
        self, identifier: str, most_bytes: int = NO_LIMIT
    ) -> ResponseChain | None:
        """The items of a response and of all responses that it continues."""
        if not is_possible_id(identifier):
            return None
        return await self._database.read(_chain, identifier, most_bytes)

    async def delete(self, identifier: str) -> bool:
        """Delete a response; False: there is none with this id."""
        if not is_possible_id(identifier):
            return False
        return await self._database.write(delete_response, identifier)

    async def input_items(
        self, identifier: str, *, after: str | None, limit: int, descending: bool
    ) -> Page | None:
        """A page of a response's input, with the items of the responses before it.

        Returns:
            None if there is no response with this id.

        Raises:
            UnknownItem: the item after which the page should begin does not exist.
        """
        if not is_possible_id(identifier):
            return None
        if after is not None and not is_possible_id(after):
            raise UnknownItem(after)
        return await self._database.read(
            _input_items, identifier, after, limit, descending
        )

    async def items(
        self, identifiers: Iterable[str], most_bytes: int = NO_LIMIT
    ) -> Mapping[str, bytes]:
        """The newest item of each id, of responses or conversations.

        Raises:
            TooLarge: the items have more than ``most_bytes``; none was read.
        """
        wanted = [name for name in identifiers if is_possible_id(name)]
        return await self._database.read(chains.items_by_id, wanted, most_bytes)

    def _now(self) -> int:
        return int(self._wall_seconds())


async def fail_abandoned(database: Database) -> None:
    """Mark the running responses of dead servers as failed."""
    liveness = await database.liveness()
    failed = await database.write(_fail_abandoned, liveness.is_alive)
    if failed:
        _log.warn(
            "{failed} responses were left unfinished by a server that is gone",
            failed=failed,
        )


def _size(document: bytes, new: Iterable[Item]) -> int:
    return len(document) + sum(len(item.document) for item in new)


def _begin(connection: Connection, new: NewResponse, owner: str) -> None:
    node = chains.add_node(connection, new.previous_id)
    size = len(new.document)
    size += chains.add_items(connection, node, new.input, is_output=False)
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


def _set_status(connection: Connection, identifier: str, status: str) -> bool:
    running = (responses.c.id == identifier) & responses.c.status.in_(RUNNING)
    done = connection.execute(update(responses).where(running).values(status=status))
    return done.rowcount > 0


def _finish(
    connection: Connection, identifier: str, final: FinalResponse, owner: str, now: int
) -> bool:
    # The response may be marked as failed: another server wrongly took this server for
    # dead. The response is finished nevertheless.
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
    events = zlib.compress(_LINE_END.join(final.events))
    size = row.size - len(row.document) + len(final.document) + len(events)
    size += chains.add_items(connection, row.node_id, final.output, is_output=True)
    connection.execute(
        update(responses)
        .where(responses.c.id == identifier)
        .values(
            status=final.status,
            document=final.document,
            events=events,
            owner=None,
            size=size,
        )
    )
    # A failed or cancelled response does not become a part of its conversation.
    if row.conversation_id is not None and final.status in _ANSWERED:
        own = chains.node_items(connection, row.node_id)
        append(connection, row.conversation_id, own, now)
    return True


def save(
    connection: Connection,
    new: NewResponse,
    final: FinalResponse,
    owner: str,
    now: int,
) -> None:
    """Store a response that has begun and ended; blocks.

    Raises:
        ReferenceDeleted: the previous response does not exist.
    """
    # `_finish` needs a response that is running.
    _begin(connection, evolve(new, status=RUNNING[-1]), owner)
    if not _finish(connection, new.id, final, owner, now):
        raise ReferenceDeleted("the response was deleted while it was stored")


def _not_cancelled(
    connection: Connection, identifiers: Iterable[str]
) -> frozenset[str]:
    wanted = responses.c.id.in_(list(identifiers))
    found = connection.execute(
        select(responses.c.id).where(wanted, responses.c.status != _CANCELLED)
    )
    return frozenset(found.scalars())


def _fail_abandoned(
    connection: Connection, is_alive: Callable[[Connection, str], bool]
) -> int:
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


def _get(connection: Connection, identifier: str) -> StoredResponse | None:
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


def _events(connection: Connection, identifier: str) -> bytes | None:
    found = connection.execute(
        select(responses.c.events).where(responses.c.id == identifier)
    ).scalar_one_or_none()
    return None if found is None else zlib.decompress(found)


def _chain(
    connection: Connection, identifier: str, most_bytes: int
) -> ResponseChain | None:
    row = _place(connection, identifier)
    if row is None:
        return None
    items = chains.chain_items(connection, row.node_id, most_bytes)
    return ResponseChain(row.status, items, row.conversation_id)


def _input_items(
    connection: Connection,
    identifier: str,
    after: str | None,
    limit: int,
    descending: bool,
) -> Page | None:
    row = _place(connection, identifier)
    if row is None:
        return None
    return chains.input_page(connection, row.node_id, after, limit, descending)


def delete_response(connection: Connection, identifier: str) -> bool:
    """Delete a response, and the nodes that no other response needs; blocks."""
    row = _place(connection, identifier)
    if row is None:
        return False
    connection.execute(delete(responses).where(responses.c.id == identifier))
    chains.delete_unused(connection, row.node_id)
    return True


def _place(connection: Connection, identifier: str) -> Row[Any, Any, Any] | None:
    return connection.execute(
        select(
            responses.c.node_id, responses.c.status, responses.c.conversation_id
        ).where(responses.c.id == identifier)
    ).one_or_none()
