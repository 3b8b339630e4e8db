"""Logs requests without a valid API key, at most one line per second and peer."""

from collections import Counter

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from typing_extensions import override

from ccproxy.web.observer import RequestObserver

_SECONDS = 1.0
# Further peers are counted together, as `_OTHERS`.
_MOST_PEERS = 1000
_OTHERS = "other addresses"


class RefusedKeyLog(RequestObserver):
    """Logs a peer's first refusal, then each second the number of further refusals."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # The number of refusals since a peer's last line. A peer is removed after a
        # second without refusals.
        self._further: Counter[str] = Counter()
        self._timer: IDelayedCall | None = None

    @override
    def key_refused(self, peer: str) -> None:
        if peer not in self._further and len(self._further) >= _MOST_PEERS:
            peer = _OTHERS
        if peer in self._further:
            self._further[peer] += 1
            return
        self._log.info("refused a request without a valid key from {peer}", peer=peer)
        self._further[peer] = 0
        if self._timer is None:
            self._timer = self._clock.callLater(_SECONDS, self._report)

    def stop(self) -> None:
        """Log the refusals that are not logged yet, and stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._report_further()
            self._timer = None
            self._further.clear()

    def _report(self) -> None:
        self._report_further()
        self._further = Counter(
            {peer: 0 for peer, number in self._further.items() if number}
        )
        self._timer = (
            self._clock.callLater(_SECONDS, self._report) if self._further else None
        )

    def _report_further(self) -> None:
        for peer, number in self._further.items():
            if number:
                self._log.info(
                    "refused {number} more requests without a valid key from {peer}",
                    number=number,
                    peer=peer,
                )
