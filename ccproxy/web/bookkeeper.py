"""From requests that are over to lines of the usage ledger."""

from ccproxy.accounting import Spent
from ccproxy.store.ledger import Ledger
from ccproxy.web.observer import RequestEnd

_NANODOLLARS = 10**9


class Bookkeeper:
    """An observer that writes down what was answered."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def request_ended(self, end: RequestEnd) -> None:
        """Write it down, if a model has answered."""
        if end.usage is None or not end.model:
            return
        cost_nanodollars = round((end.cost_usd or 0.0) * _NANODOLLARS)
        spent = Spent(1, end.usage, cost_nanodollars)
        self._ledger.add(end.model, end.key, end.client, spent)

    def stream_opened(self) -> None:
        """Nothing that would be written down."""

    def stream_closed(self) -> None:
        """Nothing either."""
