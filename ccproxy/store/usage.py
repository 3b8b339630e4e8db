"""The usage ledger: adds up usage in memory and writes the totals every few seconds.

Therefore no answer waits for the database, and a killed server loses only the usage of
its last seconds. After a failed write, the totals stay in memory until the next
attempt.

Each row has the totals of one day, model, key and client. There are so few rows that
none is ever deleted. Conversations have their own rows: see
`ccproxy.store.conversation_usage`. The functions below the class run queries, and
block.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import asdict
from sqlalchemy import Connection, Row, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ccproxy.core.errors import StorageFailed
from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals
from ccproxy.store.conversation_usage import (
    MOST_CONVERSATIONS,
    ConversationUsage,
    read_conversations,
    totals_of,
    write_conversations,
)
from ccproxy.store.database import Database, shield
from ccproxy.store.schema import rate_limits, usage

_WRITE_SECONDS = 5.0
# After a failed write.
_RETRY_SECONDS = 60.0

_KEY = ("day", "model", "key", "client")


def day_of(seconds: float) -> str:
    """The UTC date of a Unix time, such as ``2026-11-25``."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


class UsageLedger:
    """Stores usage by day, model, key and client, and the state of the rate limits.

    Args:
        wall_seconds: returns the Unix time.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        clock: IReactorTime,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._database = database
        self._clock = clock
        self._wall_seconds = wall_seconds
        self._totals: dict[UsageKey, UsageTotals] = {}
        self._conversations: dict[str, ConversationUsage] = {}
        self._windows: dict[str, RateWindow] = {}
        self._timer: IDelayedCall | None = None
        self._is_stopped = False

    def add(
        self,
        model: str,
        key: str,
        client: str,
        totals: UsageTotals,
        *,
        conversation: str = "",
    ) -> None:
        """Add the usage of an answer that has just ended.

        Args:
            model: the full id of the model.
            key: the id of the client's key.
            client: the family of the client program.
            totals: the usage.
            conversation: the id of the conversation; empty: it has none.
        """
        now_seconds = self._wall_seconds()
        self._add(UsageKey(day_of(now_seconds), model, key, client), totals)
        if conversation:
            used = ConversationUsage(key, client, int(now_seconds), totals)
            self._add_conversation(conversation, used)
        self._write_in(_WRITE_SECONDS)

    def record_limits(self, windows: Sequence[RateWindow]) -> None:
        """Record the provider's latest report of its rate limits."""
        self._windows |= {window.name: window for window in windows}
        self._write_in(_WRITE_SECONDS)

    async def flush(self) -> bool:
        """Write the totals and limits in memory; a failed write is tried again.

        Returns:
            Whether they were written.
        """
        totals, self._totals = self._totals, {}
        conversations, self._conversations = self._conversations, {}
        windows, self._windows = self._windows, {}
        self._stop_timer()
        if not totals and not windows:
            return True
        try:
            await self._database.write(
                write_usage, totals, tuple(windows.values()), conversations
            )
        except StorageFailed:
            # The log has the reason.
            for usage_key, added in totals.items():
                self._add(usage_key, added)
            newer, self._conversations = self._conversations, conversations
            for identifier, used in newer.items():
                self._add_conversation(identifier, used)
            self._windows = windows | self._windows
            self._stop_timer()
            self._write_in(_RETRY_SECONDS)
            return False
        return True

    async def report(self, since_day: str, by: str = "") -> UsageReport:
        """All usage since a day, including this server's totals in memory.

        Args:
            since_day: the first day; with ``conversation``, the report has all usage of
                the conversations that were used since this day.
            by: ``conversation`` for a line for each conversation.

        Raises:
            StorageFailed: the database failed.
        """
        # A client that disconnects must not cancel the write.
        await shield(Deferred.fromCoroutine(self.flush()))
        return await self._database.read(read_report, since_day, by)

    async def stop(self) -> None:
        """Write everything, before the database is closed."""
        self._is_stopped = True
        # An answer may end while the others are written.
        while await self.flush() and self._totals:
            pass
        if self._totals:
            self._log.error("the usage of the last answers could not be stored")

    def _add(self, usage_key: UsageKey, totals: UsageTotals) -> None:
        known = self._totals.get(usage_key, UsageTotals())
        self._totals[usage_key] = known + totals

    def _add_conversation(self, identifier: str, used: ConversationUsage) -> None:
        known = self._conversations.pop(identifier, None)
        if len(self._conversations) >= MOST_CONVERSATIONS:
            # The oldest conversation, which the database would delete, too.
            del self._conversations[next(iter(self._conversations))]
        self._conversations[identifier] = used if known is None else known + used

    def _write_in(self, seconds: float) -> None:
        if self._timer is None and not self._is_stopped:
            self._timer = self._clock.callLater(seconds, self._write)

    def _write(self) -> None:
        self._timer = None
        written = Deferred.fromCoroutine(self.flush())
        written.addErrback(lambda failure: self._log.failure("lost usage", failure))

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def write_usage(
    connection: Connection,
    totals: Mapping[UsageKey, UsageTotals],
    windows: Iterable[RateWindow],
    conversations: Mapping[str, ConversationUsage] | None = None,
) -> None:
    """Add totals to the ledger, and record the state of the rate limits; blocks."""
    is_sqlite = connection.dialect.name == "sqlite"
    insert = (sqlite if is_sqlite else postgresql).insert
    # All servers lock the rows in one order, so that there is no deadlock.
    for usage_key in sorted(totals, key=lambda k: (k.day, k.model, k.key, k.client)):
        counts = totals[usage_key].counts
        who = {name: getattr(usage_key, name) for name in _KEY}
        row = insert(usage).values(**who, **counts)
        sums = {name: usage.c[name] + row.excluded[name] for name in counts}
        connection.execute(row.on_conflict_do_update(index_elements=_KEY, set_=sums))
    for window in sorted(windows, key=lambda w: w.name):
        line = insert(rate_limits).values(**asdict(window))
        changed = {c.key: c for c in line.excluded if c.key != "name"}
        is_newer = line.excluded.reported_seconds >= rate_limits.c.reported_seconds
        connection.execute(
            line.on_conflict_do_update(
                index_elements=["name"], set_=changed, where=is_newer
            )
        )
    if conversations:
        write_conversations(connection, conversations)


def read_report(connection: Connection, since_day: str, by: str = "") -> UsageReport:
    """Read the usage since a day, and the state of the rate limits; blocks.

    If ``by`` is ``conversation``, there is one line for each conversation that was used
    since the day.

    The report is empty if the database's schema is too old to have the ledger.
    """
    tables = inspect(connection)
    if not (tables.has_table(usage.name) and tables.has_table(rate_limits.name)):
        return UsageReport()
    known = select(rate_limits).order_by(rate_limits.c.name)
    windows = tuple(_window(row) for row in connection.execute(known))
    if by == "conversation":
        return UsageReport(read_conversations(connection, since_day), windows)
    columns = [usage.c[name] for name in _KEY]
    found = select(usage).where(usage.c.day >= since_day).order_by(*columns)
    lines = (
        (UsageKey(row.day, row.model, row.key, row.client), totals_of(row))
        for row in connection.execute(found)
    )
    return UsageReport(tuple(lines), windows)


def _window(row: Row[Any]) -> RateWindow:
    return RateWindow(**{c.key: row._mapping[c] for c in rate_limits.c})
