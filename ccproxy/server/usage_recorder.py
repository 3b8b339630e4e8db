"""Writes answered requests into the usage ledger."""

from attrs import evolve
from typing_extensions import override

from ccproxy.core.usage import UsageTotals, nanodollars
from ccproxy.store.usage import UsageLedger
from ccproxy.web.observer import RequestObserver, RequestOutcome


class UsageRecorder(RequestObserver):
    """Adds each request that a model has answered to the ledger."""

    def __init__(self, ledger: UsageLedger) -> None:
        self._ledger = ledger

    @override
    def request_ended(self, end: RequestOutcome) -> None:
        if end.usage is None or not end.model:
            return
        # The details may refer to the whole message that they came in.
        usage = evolve(end.usage, details={})
        totals = UsageTotals(1, usage, nanodollars(end.cost_usd or 0.0))
        self._ledger.add(end.model, end.key, end.client, totals)
