"""The model's own messages, for the same server after a restart and for others.

Nothing waits for a write: answers are written behind their end, in batches, and those
of a killed server's last milliseconds are lost. A question waits for what it looks up,
but not long. A database that fails, or is slow, is left alone for a while: then
nothing is kept and nothing found, and the model does without its thinking.
"""

from collections import deque
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ccproxy.core.errors import StorageFailed
from ccproxy.store import answers
from ccproxy.store.answers import NewAnswer
from ccproxy.store.database import Database

# A loop of calls takes minutes; one that a user has to allow something in, more.
KEEP_SECONDS = 6 * 3600.0
_KEEP_BYTES = 64 * 1024 * 1024
_FIND_SECONDS = 0.5
# More in one conversation are not looked up: the newest count.
_MOST_KEYS = 1_000
_FAILED_SECONDS = 60.0
_SLOW_SECONDS = 5.0
# More does not wait to be written; the oldest are let go.
_WAITING_BYTES = 16 * 1024 * 1024


class KeptAnswers:
    """Keeps answers for some hours, and finds them.

    Args:
        wall_seconds: Unix time.
        keep_bytes: the most that is kept of everything; None: no limit.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
        keep_bytes: int | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._wall_seconds = wall_seconds
        limits = (_KEEP_BYTES, keep_bytes)
        self._keep_bytes = min(limit for limit in limits if limit is not None)
        self._waiting: deque[NewAnswer] = deque()
        self._waiting_bytes = 0
        self._writing: Deferred[None] | None = None
        self._resting_until_seconds = 0.0
        self._is_stopped = False

    def put(self, owner: str, key: tuple[str, str], document: bytes) -> None:
        """Keep an answer, sometime soon.

        Args:
            owner: the client whose it is.
            key: the hash of the ids of its calls, and that of what it says.
            document: all of it.
        """
        if self._is_stopped or self._is_resting:
            return
        calls, said = key
        new = NewAnswer(
            owner=owner,
            calls=calls,
            said=said,
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
                lambda failure: self._log.failure("answers are not kept", failure)
            )
            writing.addBoth(self._written)

    async def find(
        self, owner: str, keys: Sequence[tuple[str, str]]
    ) -> Sequence[bytes]:
        """The answers of one owner, oldest first; none if that takes too long.

        Args:
            owner: the client whose they are.
            keys: as for `put`, in the order of the conversation. An answer is found
                by the first hash, or else by the second.
        """
        if not keys or self._is_stopped or self._is_resting:
            return ()
        since_seconds = self._wall_seconds() - KEEP_SECONDS
        found = Deferred.fromCoroutine(
            self._database.read(answers.find, owner, keys[-_MOST_KEYS:], since_seconds)
        )
        found.addTimeout(_FIND_SECONDS, self._clock)
        try:
            return await found
        except StorageFailed:
            # The log has the reason.
            self._rest(_FAILED_SECONDS)
        except DeferredTimeoutError:
            self._log.warn(
                "the database is slow: remembered answers are not waited for"
            )
            self._rest(_SLOW_SECONDS)
        return ()

    async def sweep(self) -> int:
        """Delete what is too old or too much; tells how many.

        Raises:
            StorageFailed: the database does not do its part.
        """
        gone = 0
        before_seconds = self._wall_seconds() - KEEP_SECONDS
        while count := await self._database.write(answers.expire, before_seconds):
            gone += count
        while count := await self._database.write(answers.shrink, self._keep_bytes):
            gone += count
        return gone

    async def stop(self) -> None:
        """Take no more, and wait until everything is written."""
        self._is_stopped = True
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._waiting:
            batch = tuple(self._waiting)
            self._forget_waiting()
            try:
                await self._database.write(answers.keep, batch)
            except StorageFailed:
                # The log has the reason.
                self._forget_waiting()
                self._rest(_FAILED_SECONDS)

    def _written(self, outcome: object) -> None:
        self._writing = None

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0

    @property
    def _is_resting(self) -> bool:
        return self._clock.seconds() < self._resting_until_seconds

    def _rest(self, seconds: float) -> None:
        self._resting_until_seconds = self._clock.seconds() + seconds
