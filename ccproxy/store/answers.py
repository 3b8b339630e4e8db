"""Stores remembered answers, for this server after a restart and for other servers.

Answers are written in batches after they have ended, so no client waits for a write. A
killed server loses the answers of its last milliseconds. A request waits for the lookup
up to a short time limit. A database that fails or is slow is not used for a while. Then
nothing is stored or found, and the model continues without its earlier thinking.

The functions below the class run queries, and block.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence

from attrs import frozen
from sqlalchemy import Connection, Row, delete, func, insert, select
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ccproxy.core.errors import StorageFailed
from ccproxy.store.database import Database
from ccproxy.store.schema import answers

# A tool loop takes minutes, or longer if a user has to allow a call.
KEEP_SECONDS = 6 * 3600.0
_KEEP_BYTES = 64 * 1024 * 1024
_FIND_SECONDS = 0.5
# Only the newest keys of a conversation are looked up.
_MOST_KEYS = 1_000
_FAILED_SECONDS = 60.0
_SLOW_SECONDS = 5.0
# If more bytes wait to be written, the oldest answers are dropped.
_WAITING_BYTES = 16 * 1024 * 1024
# The estimated bytes of a row without its document, but with its indexes.
_ROW_BYTES = 300
_BATCH = 100
# A limit, because many conversations contain the same short text and the same call.
_MOST_OF_SAME_CONTENT = 64


@frozen(kw_only=True)
class NewAnswer:
    """An answer that waits to be written.

    Attributes:
        owner: a hash of the client.
        calls: the hash of the ids of the answer's calls.
        content: the hash of the answer's text, and of the names and arguments of its
            calls.
        created_seconds: Unix time.
        document: the whole answer.
    """

    owner: str
    calls: str
    content: str
    created_seconds: int
    document: bytes

    @property
    def size_bytes(self) -> int:
        """The estimated bytes of the row."""
        return _ROW_BYTES + len(self.document)


class StoredAnswers:
    """Stores answers for `KEEP_SECONDS`, and finds them.

    Args:
        wall_seconds: returns the Unix time.
        keep_size: the operator's limit of the stored bytes; None: the limit is
            `_KEEP_BYTES`, which is also the maximum.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
        keep_size: int | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._wall_seconds = wall_seconds
        limits = (_KEEP_BYTES, keep_size)
        self._keep_size = min(limit for limit in limits if limit is not None)
        self._waiting: deque[NewAnswer] = deque()
        self._waiting_bytes = 0
        self._writing: Deferred[None] | None = None
        self._unused_until_seconds = 0.0
        self._is_stopped = False

    def put(self, owner: str, key: tuple[str, str], document: bytes) -> None:
        """Store an answer soon.

        Args:
            owner: a hash of the client.
            key: the hash of the ids of the answer's calls, and the hash of its content.
            document: the whole answer.
        """
        if self._is_stopped or self._is_unused:
            return
        calls, content = key
        new = NewAnswer(
            owner=owner,
            calls=calls,
            content=content,
            created_seconds=int(self._wall_seconds()),
            document=document,
        )
        self._waiting.append(new)
        self._waiting_bytes += new.size_bytes
        while self._waiting_bytes > _WAITING_BYTES:
            self._waiting_bytes -= self._waiting.popleft().size_bytes
        if self._writing is None and self._waiting:
            writing = self._writing = Deferred.fromCoroutine(self._write())
            writing.addErrback(
                lambda failure: self._log.failure("answers are not stored", failure)
            )
            writing.addBoth(self._written)

    async def find(
        self, owner: str, keys: Sequence[tuple[str, str]]
    ) -> Sequence[bytes]:
        """The answers of a client, oldest first; empty if the lookup takes too long.

        Args:
            owner: a hash of the client.
            keys: as for `put`, in the order of the conversation. If no answer has the
                first hash of a key, answers with the second hash are returned.
        """
        if not keys or self._is_stopped or self._is_unused:
            return ()
        since_seconds = self._wall_seconds() - KEEP_SECONDS
        found = Deferred.fromCoroutine(
            self._database.read(_find, owner, keys[-_MOST_KEYS:], since_seconds)
        )
        found.addTimeout(_FIND_SECONDS, self._clock)
        try:
            return await found
        except StorageFailed:
            # The log has the reason.
            self._stop_using_for(_FAILED_SECONDS)
        except DeferredTimeoutError:
            self._log.warn(
                "the database is slow: no remembered answers are looked up for now"
            )
            self._stop_using_for(_SLOW_SECONDS)
        return ()

    async def sweep(self) -> int:
        """Delete old answers, and the oldest ones above the size limit.

        Returns:
            How many were deleted.

        Raises:
            StorageFailed: the database failed.
        """
        deleted = 0
        before_seconds = self._wall_seconds() - KEEP_SECONDS
        while count := await self._database.write(_expire, before_seconds):
            deleted += count
        while count := await self._database.write(_shrink, self._keep_size):
            deleted += count
        return deleted

    async def stop(self) -> None:
        """Take no more answers, and wait until all are written."""
        self._is_stopped = True
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._waiting:
            batch = tuple(self._waiting)
            self._drop_waiting()
            try:
                await self._database.write(_insert, batch)
            except StorageFailed:
                # The log has the reason.
                self._drop_waiting()
                self._stop_using_for(_FAILED_SECONDS)

    def _written(self, outcome: object) -> None:
        self._writing = None

    def _drop_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0

    @property
    def _is_unused(self) -> bool:
        return self._clock.seconds() < self._unused_until_seconds

    def _stop_using_for(self, seconds: float) -> None:
        self._unused_until_seconds = self._clock.seconds() + seconds


def _insert(connection: Connection, new: Sequence[NewAnswer]) -> None:
    rows = [
        {
            "owner": answer.owner,
            "calls": answer.calls,
            "content": answer.content,
            "created_seconds": answer.created_seconds,
            "document": answer.document,
            "size": answer.size_bytes,
        }
        for answer in new
    ]
    connection.execute(insert(answers), rows)


def _find(
    connection: Connection,
    owner: str,
    keys: Collection[tuple[str, str]],
    since_seconds: float,
) -> Sequence[bytes]:
    wanted = select(answers.c.id, answers.c.calls, answers.c.document).where(
        answers.c.owner == owner, answers.c.created_seconds >= since_seconds
    )
    by_calls = wanted.where(answers.c.calls.in_([calls for calls, _ in keys]))
    found: list[Row[tuple[int, str, bytes]]] = list(connection.execute(by_calls))
    known = {row.calls for row in found}
    others = [content for calls, content in keys if calls not in known]
    if others:
        by_content = (
            wanted.where(answers.c.content.in_(others))
            .order_by(answers.c.id.desc())
            .limit(_MOST_OF_SAME_CONTENT)
        )
        found += connection.execute(by_content)
    documents = {row.id: bytes(row.document) for row in found}
    return [documents[identifier] for identifier in sorted(documents)]


def _expire(connection: Connection, before_seconds: float) -> int:
    """Delete a batch of the answers created before a time; returns how many."""
    # Skip locked rows: another server is deleting them.
    old = connection.execute(
        select(answers.c.id)
        .where(answers.c.created_seconds < before_seconds)
        .order_by(answers.c.id)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    return _delete(connection, old.scalars().all())


def _shrink(connection: Connection, keep_size: int) -> int:
    """Delete a batch of the oldest answers, if all take more than ``keep_size`` bytes.

    Returns:
        How many were deleted.
    """
    sizes = select(func.coalesce(func.sum(answers.c.size), 0))
    excess = connection.execute(sizes).scalar_one() - keep_size
    if excess <= 0:
        return 0
    oldest = connection.execute(
        select(answers.c.id, answers.c.size)
        .order_by(answers.c.id)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    deleted = []
    for row in oldest:
        if excess <= 0:
            break
        deleted.append(row.id)
        excess -= row.size
    return _delete(connection, deleted)


def _delete(connection: Connection, identifiers: Sequence[int]) -> int:
    if identifiers:
        connection.execute(delete(answers).where(answers.c.id.in_(identifiers)))
    return len(identifiers)
