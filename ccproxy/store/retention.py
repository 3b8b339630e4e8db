"""Deletes old data, limits the size of the store, and detects dead servers.

Once a minute, the server renews its lock (`ccproxy.store.liveness`), marks the
responses of dead servers as failed, and deletes old remembered answers. Once an hour it
deletes old responses and conversations, and checks the size. The size is also checked
whenever a sixteenth of the limit has been written; the next write waits for this check.
Rows are deleted in batches, so that no other write waits long. The functions below the
class run queries, and block.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, func, literal, select, union_all
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from ccproxy.core.errors import StorageFailed
from ccproxy.store.answers import StoredAnswers
from ccproxy.store.conversation_usage import (
    ROW_BYTES,
    delete_conversation_usage,
    expire_conversation_usage,
)
from ccproxy.store.conversations import delete_conversation
from ccproxy.store.database import Database
from ccproxy.store.records import RUNNING
from ccproxy.store.responses import delete_response, fail_abandoned
from ccproxy.store.schema import (
    conversation_items,
    conversation_usage,
    conversations,
    items,
    responses,
)

_SWEEP_SECONDS = 60.0
_SWEEPS_PER_CLEANING = 60
_BATCH = 100
_STEPS = 16

_DOCUMENTS = (
    responses.c.document,
    responses.c.events,
    items.c.document,
    conversations.c.metadata,
    conversation_items.c.document,
)
_OLDEST = (
    union_all(
        select(
            responses.c.id,
            responses.c.created_seconds.label("seconds"),
            responses.c.size,
            literal("response").label("kind"),
        ).where(responses.c.status.not_in(RUNNING)),
        select(
            conversation_usage.c.id,
            conversation_usage.c.used_seconds,
            literal(ROW_BYTES),
            literal("usage"),
        ),
        select(
            conversations.c.id,
            conversations.c.touched_seconds,
            select(
                func.coalesce(func.sum(func.length(conversation_items.c.document)), 0)
            )
            .where(conversation_items.c.conversation_id == conversations.c.id)
            .scalar_subquery(),
            literal("conversation"),
        ),
    )
    .order_by("seconds")
    .limit(_BATCH)
)
_DELETE: Mapping[str, Callable[[Connection, str], object]] = {
    "response": delete_response,
    "conversation": delete_conversation,
    "usage": delete_conversation_usage,
}


class Retention:
    """The store's periodic maintenance.

    Args:
        wall_seconds: returns the Unix time.
        keep_time: responses and conversations older than this, in seconds, are deleted;
            None: nothing is deleted by age.
        keep_size: the limit of the bytes of all responses and conversations; None: no
            limit.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        answers: StoredAnswers,
        reactor: Any,
        wall_seconds: Callable[[], float],
        *,
        keep_time: float | None,
        keep_size: int | None,
    ) -> None:
        self._database = database
        self._answers = answers
        self._wall_seconds = wall_seconds
        self._keep_time = keep_time
        self._keep_size = keep_size
        self._sweeps = 0
        self._written_bytes = 0
        self._shrinking = DeferredLock()
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self.sweep()))
        self._loop.clock = reactor

    async def start(self) -> None:
        """Delete old data now, and call `sweep` every minute.

        Raises:
            StorageFailed: the database failed now; later failures are logged only.
        """
        looped = self._loop.start(_SWEEP_SECONDS, now=False)
        looped.addErrback(
            lambda failure: self._log.failure(
                "the maintenance of the database ended", failure
            )
        )
        await self._clean()

    def stop(self) -> None:
        """Start no further sweep."""
        if self._loop.running:
            self._loop.stop()

    async def sweep(self) -> None:
        """Do the work that is due once a minute, or once an hour."""
        self._sweeps += 1
        try:
            if self._sweeps % _SWEEPS_PER_CLEANING == 0:
                await self._clean()
            else:
                await self._database.renew_liveness()
                await fail_abandoned(self._database)
                await self._answers.sweep()
        except StorageFailed:
            # The log has the reason; the next sweep tries again.
            return

    async def make_room(self, size_bytes: int) -> None:
        """Delete the oldest data if the store is too large; called before each write.

        Args:
            size_bytes: the number of bytes that will be written.

        Raises:
            StorageFailed: the database failed.
        """
        if self._keep_size is None:
            return
        self._written_bytes += size_bytes
        if self._written_bytes >= self._keep_size // _STEPS:
            self._written_bytes = 0
            if deleted := await self._shrink():
                await self._database.vacuum()
                self._report(deleted)

    async def _shrink(self) -> int:
        if self._keep_size is None:
            return 0
        deleted = 0
        await self._shrinking.acquire()
        try:
            # Counting the bytes of a large database takes seconds. In a write
            # transaction, it would block all other writes.
            while (
                excess := await self._database.read_slowly(_stored_bytes)
                - self._keep_size
            ) > 0:
                count = await self._database.write(_delete_oldest, excess)
                if not count:
                    break  # Only running responses are left.
                deleted += count
        finally:
            self._shrinking.release()
        return deleted

    async def _clean(self) -> None:
        await fail_abandoned(self._database)
        deleted = 0
        if self._keep_time is not None:
            before = self._wall_seconds() - self._keep_time
            for expire in (_expire_responses, _expire_conversations):
                while count := await self._database.write(expire, before):
                    deleted += count
            await self._database.write(expire_conversation_usage, before)
        deleted += await self._shrink()
        if await self._answers.sweep() or deleted:
            await self._database.vacuum()
        if deleted:
            self._report(deleted)

    def _report(self, deleted: int) -> None:
        self._log.info(
            "{deleted} old responses and conversations deleted", deleted=deleted
        )


def _expire_responses(connection: Connection, before_seconds: float) -> int:
    """Delete a batch of the responses created before a time; returns how many."""
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


def _expire_conversations(connection: Connection, before_seconds: float) -> int:
    """Delete a batch of conversations last changed before a time; returns how many."""
    old = connection.execute(
        select(conversations.c.id)
        .where(conversations.c.touched_seconds < before_seconds)
        .limit(_BATCH)
    )
    return sum(delete_conversation(connection, name) for name in old.scalars().all())


def _delete_oldest(connection: Connection, excess: int) -> int:
    """Delete the oldest rows until ``excess`` bytes are free, at most one batch.

    Returns:
        How many rows were deleted.
    """
    count = 0
    for row in connection.execute(_OLDEST).all():
        if excess <= 0:
            break
        _DELETE[row.kind](connection, row.id)
        # The items of a response stay if another response continues it. So the bytes
        # are counted again before the next batch.
        excess -= row.size
        count += 1
    return count


def _stored_bytes(connection: Connection) -> int:
    """The total bytes of all documents; the database need not read them for this."""
    rows = select(func.count()).select_from(conversation_usage)
    total = ROW_BYTES * connection.execute(rows).scalar_one()
    for column in _DOCUMENTS:
        sizes = select(func.coalesce(func.sum(func.length(column)), 0))
        total += connection.execute(sizes).scalar_one()
    return int(total)
