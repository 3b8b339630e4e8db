"""What the answers to one request say of their use. Pure."""

from collections.abc import Sequence

from attrs import define

from ccproxy.events import Event, Finished, FinishReason


@define(eq=False)
class Receipt:
    """Filled in as the answers end.

    Attributes:
        finish: why the last of them ended; None: none has.
        cost_usd: what the CLI has told of their cost; None: nothing.
    """

    finish: FinishReason | None = None
    cost_usd: float | None = None

    def receive(self, events: Sequence[Event]) -> None:
        """Take events of one of the answers."""
        end = events[-1]
        if isinstance(end, Finished):
            self.finish = end.reason
            if end.cost_usd is not None:
                self.cost_usd = (self.cost_usd or 0.0) + end.cost_usd
