"""The answer that a worker's CLI is at: read, kept to one request, timed and told.

Source: docs/claude-cli-protocol.md, "Ends".
"""

from collections.abc import Callable
from enum import Enum, auto

import msgspec
from twisted.python.failure import Failure

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.protocol.codec import Record
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.claude.protocol.records import (
    ApiRetry,
    RateLimitEvent,
    Result,
)
from ccproxy.claude.protocol.stream import MessageStartEvent, StreamLine
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.delivery import Delivery
from ccproxy.claude.worker.request_guard import RequestGuard
from ccproxy.claude.worker.turn_decoder import TurnDecoder
from ccproxy.core.errors import CCProxyError, TimedOut
from ccproxy.core.question import Listener
from ccproxy.core.stream import Event, Failed, Finished

# An answer of so few tokens may be over before it is known to go on.
_FEW_TOKENS = 16
# Larger bodies are not searched for their `max_tokens`.
_SEARCHED_BYTES = 1_000_000


class TurnOutcome(Enum):
    """What the CLI is at when the answer is over for its listener.

    =========  ==============================================================
    SETTLED    it has ended the turn
    SETTLING   it is about to
    GOES_ON    it does not know yet that the answer is over
    UNUSABLE   it would ask the model by itself, or spoil its later requests
    =========  ==============================================================
    """

    SETTLED = auto()
    SETTLING = auto()
    GOES_ON = auto()
    UNUSABLE = auto()


class _Budget(msgspec.Struct):
    max_tokens: int | None = None


_decode_budget = msgspec.json.Decoder(_Budget).decode


class TurnReader:
    """One answer after the other, of one CLI.

    Args:
        failed: told if the CLI cannot be kept from asking by itself.
        timed_out: told which limit has passed.
        ended: called before the listener hears the end of the answer.
    """

    def __init__(
        self,
        context: CLIContext,
        controls: ControlChannel,
        *,
        failed: Callable[[Failure], None],
        timed_out: Callable[[TimedOut], None],
        ended: Callable[[], None],
    ) -> None:
        self._context = context
        self._ended = ended
        self._guard = RequestGuard(controls, context.clock, failed)
        self._delivery = Delivery(context.limits, context.clock, timed_out)
        self._costs = context.cost_tracker()
        self._turn = TurnDecoder(0.0, may_begin=False)
        self._is_short = False
        self._untold: list[Event] = []

    @property
    def has_told(self) -> bool:
        """Whether anything of the last answer was told."""
        return self._delivery.has_told

    @property
    def is_settled(self) -> bool:
        """Whether the CLI has ended the turn."""
        return self._turn.is_settled

    @property
    def is_limited(self) -> bool:
        """Whether the CLI is sure to ask nothing by itself."""
        return self._guard.is_closed

    @property
    def would_ask_again(self) -> bool:
        """Whether the CLI is about to ask by itself, and nothing keeps it from it."""
        return self._turn.asks_again and not self._guard.is_closed

    @property
    def fate(self) -> TurnOutcome:
        """What is to become of the CLI, when the answer is over for its listener."""
        if self._turn.spoils or self.would_ask_again:
            return TurnOutcome.UNUSABLE
        if self._turn.is_settled:
            return TurnOutcome.SETTLED
        return TurnOutcome.SETTLING if self._turn.asks_again else TurnOutcome.GOES_ON

    def begin(self, body: ComposedBody, listener: Listener) -> None:
        """Listen to the answer to a question that is going to be asked."""
        self._guard.reset()
        self._is_short = _is_short(body.json)
        self._costs.model = self._context.full_id(body.model)
        self._turn = TurnDecoder(
            self._context.wall_seconds(), spent_usd=self._costs.total_dollars
        )
        self._delivery.begin(listener)

    def begin_none(self) -> None:
        """See that a question is not asked, which the CLI was told not to ask."""
        self._guard.reset(is_closed=True)
        self._turn = TurnDecoder(0.0, may_begin=False)

    def is_unexpected(self, record: Record) -> bool:
        """Whether a record begins a message that neither we nor a retry asked for."""
        return self._turn.is_unexpected(record)

    def goes_on(self, record: Record) -> bool:
        """Take a record if it is a piece of the message under way; tells whether it is.

        A piece changes nothing but what there is to `tell`.
        """
        events = self._turn.piece(record)
        if events is None:
            return False
        if self._delivery.listener is not None:
            self._untold += events
        return True

    def receive(self, record: Record) -> None:
        """Take a record; the listener is told at the end of the answer, or by `tell`.

        Raises:
            WireError: a part of the record is not of the known shape.
        """
        if isinstance(record, StreamLine):
            if isinstance(record.event, MessageStartEvent):
                self._guard.answer_begun(is_short=self._is_short)
        elif isinstance(record, Result | ApiRetry | RateLimitEvent):
            self._costs.receive(record)
        events = self._turn.receive(record)
        if events and self._delivery.listener is not None:
            self._untold += events
            if self._turn.is_over:
                # What comes behind it finds the CLI in another state.
                self.tell()

    def tell(self) -> None:
        """Tell the listener what has come."""
        events, self._untold = self._untold, []
        listener = self._delivery.listener
        if listener is None or not events:
            return
        told = self._delivery.filter_events(events, self._turn.timeout_error)
        if isinstance(told[-1], Finished | Failed):
            self._delivery.leave()
            self._ended()
        listener.receive(told)

    def fail(self, error: CCProxyError) -> None:
        """End the answer, if there is a listener yet."""
        self._untold.append(Failed(error))
        self.tell()

    def why(self, error: TimedOut) -> CCProxyError:
        """Why nothing came: what the CLI was last refused for, if it was."""
        return self._turn.timeout_error(error)

    def pause(self) -> None:
        """Be patient with a listener that does not read."""
        self._delivery.pause()

    def resume(self) -> None:
        """Go on."""
        self._delivery.resume()

    def leave(self) -> None:
        """Tell no more."""
        self._delivery.leave()

    def stop(self) -> None:
        """Keep the CLI from nothing any more: its turn is over."""
        self._guard.stop()


def _is_short(body: bytes) -> bool:
    """Whether an answer may be over before it is known to go on."""
    if len(body) > _SEARCHED_BYTES:
        return False
    budget = _decode_budget(body).max_tokens
    return budget is not None and budget <= _FEW_TOKENS
