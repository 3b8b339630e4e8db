"""Cost, model and time to first token of one request. Pure."""

from collections.abc import Callable, Sequence

from attrs import define, field

from ccproxy.core.stream import Event, Finished, FinishReason, MessageStart, is_token


@define(eq=False)
class AnswerStats:
    """Cost, model and times of one request's answers, as far as they have come.

    Attributes:
        model: the full id of the model; empty before an answer begins.
        finish: why the last answer ended; None: no answer has ended.
        cost_usd: the cost that the CLI reported; None: it reported none.

    Args:
        seconds: a monotonic clock.
    """

    _seconds: Callable[[], float]
    model: str = field(default="", init=False)
    finish: FinishReason | None = field(default=None, init=False)
    cost_usd: float | None = field(default=None, init=False)
    _began_seconds: float | None = field(default=None, init=False)

    @property
    def answering_seconds(self) -> float | None:
        """The time since the first token; None: there is no token yet."""
        began = self._began_seconds
        return None if began is None else self._seconds() - began

    def receive(self, events: Sequence[Event]) -> None:
        """Take events of one of the answers."""
        # Only the first token is of interest.
        if self._began_seconds is None:
            self._await_token(events)
        end = events[-1]
        if isinstance(end, Finished):
            self.finish = end.reason
            if end.cost_usd is not None:
                self.cost_usd = (self.cost_usd or 0.0) + end.cost_usd

    def _await_token(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, MessageStart):
                self.model = event.model
            elif is_token(event):
                self._began_seconds = self._seconds()
                return
