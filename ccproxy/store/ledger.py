"""The usage ledger: what was used is added up here, and written every few seconds.

So an answer never waits for the database, and a server that is killed loses the last
seconds only. What cannot be written is kept, and tried again.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ccproxy.core.detached import detached
from ccproxy.core.errors import StorageFailed
from ccproxy.core.usage import RateWindow, UsageKey, UsageReport, UsageTotals
from ccproxy.store import usage
from ccproxy.store.database import Database

_WRITE_SECONDS = 5.0
# A database that fails is left alone for a while.
_AGAIN_SECONDS = 60.0


def day_of(seconds: float) -> str:
    """The day of a moment in Unix time, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


class Ledger:
    """Keeps what was used by day, model, key and client, and the limits' state.

    Args:
        wall_seconds: Unix time.
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
        self._spent: dict[UsageKey, UsageTotals] = {}
        self._windows: dict[str, RateWindow] = {}
        self._timer: IDelayedCall | None = None
        self._is_stopped = False

    def add(self, model: str, key: str, client: str, spent: UsageTotals) -> None:
        """Note what an answer that has just ended used."""
        account = UsageKey(day_of(self._wall_seconds()), model, key, client)
        self._spent[account] = self._spent.get(account, UsageTotals()) + spent
        self._write_in(_WRITE_SECONDS)

    def limited(self, windows: Sequence[RateWindow]) -> None:
        """Note what was told of the limits."""
        self._windows |= {window.name: window for window in windows}
        self._write_in(_WRITE_SECONDS)

    async def flush(self) -> None:
        """Write what is not written yet; what cannot be is kept for later."""
        spent, self._spent = self._spent, {}
        windows, self._windows = self._windows, {}
        self._stop_timer()
        if not spent and not windows:
            return
        try:
            await self._database.write(usage.keep, spent, tuple(windows.values()))
        except StorageFailed:
            # The log has the reason.
            for account, amount in spent.items():
                self._spent[account] = self._spent.get(account, UsageTotals()) + amount
            self._windows = windows | self._windows
            self._stop_timer()
            self._write_in(_AGAIN_SECONDS)

    async def books(self, since_day: str) -> UsageReport:
        """All from a day on, this server's newest included.

        Raises:
            StorageFailed: the database does not do its part.
        """
        # The client who waits may go away, but not what is being written.
        await detached(Deferred.fromCoroutine(self.flush()))
        return await self._database.read(usage.books, since_day)

    async def stop(self) -> None:
        """Write what there is, before the database is closed."""
        self._is_stopped = True
        await self.flush()
        if self._spent:
            self._log.error("the usage of the last answers could not be kept")

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
