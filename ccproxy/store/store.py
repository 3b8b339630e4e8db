"""The store: what it can be asked, from the reactor's thread.

Every method raises `StorageFailed` when the database does not do its part; after
that the next call tries again.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from ccproxy.core.errors import StorageFailed
from ccproxy.store import conversations, responses, retention
from ccproxy.store.database import Database
from ccproxy.store.kept_answers import KeptAnswers
from ccproxy.store.ledger import Ledger
from ccproxy.store.records import (
    Conversation,
    FinalResponse,
    Item,
    NewResponse,
    Page,
    ResponseChain,
    StoredResponse,
    UnknownItem,
)
from ccproxy.store.schema import secrets

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Nothing is kept under any other; databases differ in what they make of the rest.
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_SWEEP_SECONDS = 60.0
_SWEEPS_PER_CLEANING = 60
_SECONDS_PER_DAY = 86_400


class Store:
    """Keeps responses and conversations, and what has been used.

    Attributes:
        ledger: what has been used.
        answers: the model's own messages, for loops of calls.

    Args:
        url: of SQLAlchemy's kind, as soon as it is needed.
        keep_days: what is older goes; None: nothing does.
        keep_bytes: the most that is kept; None: no limit.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        url: Callable[[], str],
        reactor: Any,
        wall_seconds: Callable[[], float],
        keep_days: float | None,
        keep_bytes: int | None,
    ) -> None:
        # Each server has a name of its own, even if there are two in one process.
        self._owner = uuid4().hex
        self._database = Database(url, self._owner, reactor)
        self._wall_seconds = wall_seconds
        self.ledger = Ledger(self._database, reactor, wall_seconds)
        self.answers = KeptAnswers(self._database, reactor, wall_seconds, keep_bytes)
        self._keep_days = keep_days
        self._keep_bytes = keep_bytes
        self._sweeps = 0
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = reactor

    async def start(self) -> None:
        """Open, and look after what is there from now on.

        Raises:
            StorageFailed: it cannot be opened now.
        """
        # The first sweep opens; its failure is told, the later ones are logged.
        swept = self._sweeping.start(_SWEEP_SECONDS, now=False)
        swept.addErrback(lambda failure: self._log.failure("no more sweeps", failure))
        await self._clean()

    async def stop(self) -> None:
        """Wait for what is under way, and close."""
        if self._sweeping.running:
            self._sweeping.stop()
        await self.answers.stop()
        await self.ledger.stop()
        await self._database.close()

    # Secrets

    async def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret of that name, the same for all servers of the database."""
        return await self._database.write(_secret, name, make)

    # Responses

    async def begin(self, new: NewResponse) -> None:
        """Keep a response that is about to run here."""
        await self._database.write(responses.begin, new, self._owner)

    async def advance(self, identifier: str, status: str) -> bool:
        """Note how far it is; False if it is over."""
        return await self._database.write(responses.advance, identifier, status)

    async def finish(self, identifier: str, ending: FinalResponse) -> bool:
        """Keep how it ended; False if it was cancelled or deleted elsewhere."""
        return await self._database.write(
            responses.finish, identifier, ending, self._owner, self._now()
        )

    async def save(self, new: NewResponse, ending: FinalResponse) -> None:
        """Keep a whole response."""
        await self._database.write(
            responses.save, new, ending, self._owner, self._now()
        )

    async def cancel(self, identifier: str) -> StoredResponse | None:
        """End it unless it is over; how it is then."""
        if not _ID.fullmatch(identifier):
            return None
        await self._database.write(responses.cancel, identifier)
        return await self.response(identifier)

    async def still_running(self, identifiers: Iterable[str]) -> frozenset[str]:
        """Those of this server's that nobody has cancelled or deleted elsewhere."""
        return await self._database.read(responses.running, list(identifiers))

    async def response(self, identifier: str) -> StoredResponse | None:
        """One as it is now."""
        found = await self._find(responses.get, identifier)
        if found is not None and found.is_running:
            # Whoever marked it, it may be marked now.
            await self._fail_abandoned()
            found = await self._find(responses.get, identifier)
        return found

    async def events(self, identifier: str) -> bytes | None:
        """The stream that told it; None if it is not over, or not kept."""
        return await self._find(responses.events, identifier)

    async def chain(self, identifier: str) -> ResponseChain | None:
        """One with everything before it."""
        return await self._find(responses.chain, identifier)

    async def delete(self, identifier: str) -> bool:
        """Delete one; False if there is none."""
        if not _ID.fullmatch(identifier):
            return False
        return await self._database.write(responses.delete_response, identifier)

    async def input_items(
        self, identifier: str, *, after: str | None, limit: int, descending: bool
    ) -> Page | None:
        """A page of what it was given, the conversation before it included.

        Raises:
            UnknownItem: there is no item to begin after.
        """
        return await self._find(
            responses.input_items, identifier, _after(after), limit, descending
        )

    async def items(self, identifiers: Iterable[str]) -> Mapping[str, bytes]:
        """The newest item of each id, as far as there is one."""
        wanted = [name for name in identifiers if _ID.fullmatch(name)]
        return await self._database.read(responses.items_by_id, wanted)

    # Conversations

    async def create_conversation(
        self, conversation: Conversation, items: Sequence[Item]
    ) -> None:
        """Keep a new conversation."""
        await self._database.write(conversations.create, conversation, items)

    async def conversation(self, identifier: str) -> Conversation | None:
        """One, without its items."""
        return await self._find(conversations.get, identifier)

    async def update_conversation(
        self, identifier: str, metadata: bytes
    ) -> Conversation | None:
        """Replace its metadata."""
        if not _ID.fullmatch(identifier):
            return None
        return await self._database.write(
            conversations.set_metadata, identifier, metadata, self._now()
        )

    async def delete_conversation(self, identifier: str) -> bool:
        """Delete it with its items; False if there is none."""
        if not _ID.fullmatch(identifier):
            return False
        return await self._database.write(conversations.delete_conversation, identifier)

    async def append(self, identifier: str, items: Sequence[Item]) -> bool:
        """Add items at its end; False if there is none."""
        if not _ID.fullmatch(identifier):
            return False
        return await self._database.write(
            conversations.append, identifier, items, self._now()
        )

    async def taken_items(
        self, identifier: str, item_ids: Iterable[str]
    ) -> frozenset[str]:
        """Those of some ids that items of it have already."""
        wanted = [name for name in item_ids if _ID.fullmatch(name)]
        if not (wanted and _ID.fullmatch(identifier)):
            return frozenset()
        return await self._database.read(conversations.taken, identifier, wanted)

    async def whole_conversation(self, identifier: str) -> tuple[Item, ...] | None:
        """All of its items, oldest first."""
        return await self._find(conversations.whole, identifier)

    async def conversation_items(
        self, identifier: str, *, after: str | None, limit: int, descending: bool
    ) -> Page | None:
        """A page of its items.

        Raises:
            UnknownItem: there is no item to begin after.
        """
        return await self._find(
            conversations.page, identifier, _after(after), limit, descending
        )

    async def conversation_item(self, identifier: str, item_id: str) -> bytes | None:
        """One of its items."""
        if not (_ID.fullmatch(identifier) and _ID.fullmatch(item_id)):
            return None
        return await self._database.read(conversations.item, identifier, item_id)

    async def delete_item(self, identifier: str, item_id: str) -> bool:
        """Delete one of its items; False if there is none."""
        if not (_ID.fullmatch(identifier) and _ID.fullmatch(item_id)):
            return False
        return await self._database.write(
            conversations.delete_item, identifier, item_id
        )

    # What nobody asks for

    async def _find(
        self,
        query: Callable[Concatenate[Connection, str, _P], _T | None],
        identifier: str,
        *args: _P.args,
        **options: _P.kwargs,
    ) -> _T | None:
        """Ask for something by its id; nothing is kept under an impossible one."""
        if not _ID.fullmatch(identifier):
            return None
        return await self._database.read(query, identifier, *args, **options)

    def _now(self) -> int:
        return int(self._wall_seconds())

    def _sweep(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._swept_once())

    async def _swept_once(self) -> None:
        self._sweeps += 1
        try:
            if self._sweeps % _SWEEPS_PER_CLEANING == 0:
                await self._clean()
            else:
                await self._database.keep_presence()
                await self._fail_abandoned()
                await self.answers.sweep()
        except StorageFailed:
            # The log has the reason; the next sweep may find it mended.
            return

    async def _fail_abandoned(self) -> int:
        presence = await self._database.presence()
        failed = await self._database.write(responses.fail_abandoned, presence.is_alive)
        if failed:
            self._log.warn(
                "{failed} responses were left unfinished by a server that is gone",
                failed=failed,
            )
        return failed

    async def _clean(self) -> None:
        """Let go of what is abandoned, too old or too much."""
        await self._fail_abandoned()
        gone = 0
        if self._keep_days is not None:
            before = self._wall_seconds() - self._keep_days * _SECONDS_PER_DAY
            for expire in (retention.expire_responses, retention.expire_conversations):
                while count := await self._database.write(expire, before):
                    gone += count
        if self._keep_bytes is not None:
            while count := await self._database.write(
                retention.shrink, self._keep_bytes
            ):
                gone += count
        if await self.answers.sweep() or gone:
            await self._database.tidy()
        if gone:
            self._log.info("{gone} old responses and conversations deleted", gone=gone)


def _after(identifier: str | None) -> str | None:
    if identifier is not None and not _ID.fullmatch(identifier):
        raise UnknownItem(identifier)
    return identifier


def _secret(connection: Connection, name: str, make: Callable[[], bytes]) -> bytes:
    wanted = select(secrets.c.value).where(secrets.c.name == name)
    found = connection.execute(wanted).scalar_one_or_none()
    if found is None:
        is_sqlite = connection.dialect.name == "sqlite"
        new = (sqlite if is_sqlite else postgresql).insert(secrets)
        # Another server may be as fast.
        connection.execute(new.values(name=name, value=make()).on_conflict_do_nothing())
        found = connection.execute(wanted).scalar_one()
    return bytes(found)
