"""What the answers to one request say of their use. Pure."""

from collections.abc import Callable, Sequence

from attrs import define, field

from ccproxy.core.stream import Event, Finished, FinishReason, MessageStart, is_token


@define(eq=False)
class AnswerStats:
    """Filled in as the answers come.

    Attributes:
        model: the full id of who answers; empty before anybody does.
        finish: why the last of them ended; None: none has.
        cost_usd: what the CLI has told of their cost; None: nothing.

    Args:
        seconds: the time, by a clock that nobody sets.
    """

    _seconds: Callable[[], float]
    model: str = field(default="", init=False)
    finish: FinishReason | None = field(default=None, init=False)
    cost_usd: float | None = field(default=None, init=False)
    _began_seconds: float | None = field(default=None, init=False)

    @property
    def answering_seconds(self) -> float | None:
        """How long ago the first token came; None: none has."""
        began = self._began_seconds
        return None if began is None else self._seconds() - began

    def receive(self, events: Sequence[Event]) -> None:
        """Take events of one of the answers."""
        # Of those that bring tokens, only the first are looked at.
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
