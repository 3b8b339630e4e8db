"""Logs requests with a wrong API key: at most one line a second for each peer."""

from collections import Counter

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from typing_extensions import override

from ccproxy.web.observer import RequestObserver

_SECONDS = 1.0
# Beyond this number, peers are counted as one.
_MOST_PEERS = 1000
_OTHERS = "other addresses"


class RefusedKeyLog(RequestObserver):
    """Logs the first refusal of a peer, and each second the number of further ones."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # Further refusals since the last line; a peer is in it for a second at least.
        self._further: Counter[str] = Counter()
        self._timer: IDelayedCall | None = None

    @override
    def key_refused(self, peer: str) -> None:
        if peer not in self._further and len(self._further) >= _MOST_PEERS:
            peer = _OTHERS
        if peer in self._further:
            self._further[peer] += 1
            return
        self._log.info("refused a wrong API key from {peer}", peer=peer)
        self._further[peer] = 0
        if self._timer is None:
            self._timer = self._clock.callLater(_SECONDS, self._report)

    def stop(self) -> None:
        """Report what has not been reported yet."""
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
                    "refused {number} more wrong API keys from {peer}",
                    number=number,
                    peer=peer,
                )
