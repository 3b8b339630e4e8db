"""From requests that are over to lines of the usage ledger."""

from attrs import evolve

from ccproxy.core.usage import UsageTotals, nanodollars
from ccproxy.store.usage import UsageLedger
from ccproxy.web.observer import RequestOutcome, UnderWay


class UsageRecorder:
    """An observer that writes down what was answered."""

    def __init__(self, ledger: UsageLedger) -> None:
        self._ledger = ledger

    def request_began(self, request: UnderWay) -> None:
        """Nothing that would be written down."""

    def request_left(self, request: UnderWay) -> None:
        """Nothing either."""

    def request_ended(self, end: RequestOutcome) -> None:
        """Write it down, if a model has answered."""
        if end.usage is None or not end.model:
            return
        cost_nanodollars = nanodollars(end.cost_usd or 0.0)
        # The details may hold on to the whole message that they came in.
        counts = evolve(end.usage, details={})
        totals = UsageTotals(1, counts, cost_nanodollars)
        self._ledger.add(end.model, end.key, end.client, totals)

    def stream_opened(self) -> None:
        """Nothing that would be written down."""

    def stream_closed(self) -> None:
        """Nothing either."""
