"""Reads the answers of a worker's CLI: decodes and delivers them, within limits.

`RequestGuard` limits each answer to one request. `Deadlines` has the time limits: one
for the whole answer, one for the first token, and one for the silence between later
events. While an answer is paused, because its client does not read, only the limit on
the whole answer runs. When the answer is resumed, the other limit starts again.

Source: docs/claude-cli-protocol.md, "Ends".
"""

from collections.abc import Callable

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.protocol.codec import Record
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.claude.protocol.error_log import last_logged_error
from ccproxy.claude.protocol.records import ApiRetry, RateLimitEvent, Result, is_failure
from ccproxy.claude.protocol.stream import MessageStartEvent, StreamLine
from ccproxy.claude.worker.commands import RequestGuard
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.turn_decoder import TurnDecoder
from ccproxy.config.limits import TurnTimeouts
from ccproxy.core.backend import Listener
from ccproxy.core.errors import Cause, CCProxyError, RateLimited, TimedOut
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
    is_token,
)

# Nearly all events are of these types.
_PIECES = (TextDelta, ThinkingDelta, InputJSONDelta)
# An answer of so few tokens may end before the guard's timer fires.
_FEW_TOKENS = 16
# If the CLI would wait this long before a retry, the client gets the refusal at once.
_LONGEST_WAIT_SECONDS = 120.0
# Larger bodies are not searched for their `max_tokens`.
_SEARCHED_BYTES = 1_000_000


class Deadlines:
    """Applies the time limits to one answer, from `start` to `stop`.

    Args:
        limits: the time limits.
        clock: for timers.
        expired: called once with the error if a limit has passed; all timers have
            stopped then.
    """

    def __init__(
        self,
        limits: TurnTimeouts,
        clock: IReactorTime,
        expired: Callable[[TimedOut], None],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._expired = expired
        self._has_token = False
        self._next: IDelayedCall | None = None
        self._whole: IDelayedCall | None = None

    def start(self) -> None:
        """Start the limits on the first token and on the whole answer."""
        self.stop()
        self._has_token = False
        self._listen()
        self._whole = self._clock.callLater(self._limits.turn_timeout, self._too_long)

    def token(self) -> None:
        """Note that a token has arrived."""
        self._has_token = True
        if self._next is not None:
            self._next.reset(self._limits.silence_timeout)

    def waiting(self) -> None:
        """Restart a running limit on silence, because the CLI will retry."""
        if self._has_token:
            self.token()

    def can_wait(self, delay_seconds: float) -> bool:
        """Whether a wait ends before the limits pass, and within two minutes."""
        return delay_seconds < _LONGEST_WAIT_SECONDS and all(
            delay_seconds < call.getTime() - self._clock.seconds()
            for call in (self._next, self._whole)
            if call is not None
        )

    def pause(self) -> None:
        """Stop the limit on the first token or on silence."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def resume(self) -> None:
        """Restart the limit that `pause` has stopped."""
        if self._next is None and self._whole is not None:
            self._listen()

    def stop(self) -> None:
        """Stop all limits; may be called at any time."""
        for call in (self._next, self._whole):
            if call is not None and call.active():
                call.cancel()
        self._next = self._whole = None

    def _listen(self) -> None:
        limits = self._limits
        self._next = self._clock.callLater(
            limits.silence_timeout if self._has_token else limits.first_token_timeout,
            self._silent,
        )

    def _silent(self) -> None:
        if self._has_token:
            seconds = self._limits.silence_timeout
            self._expire(
                f"the answer stopped for {seconds:g} s (--silence-timeout)",
                Cause.SILENCE_TIMEOUT,
            )
        else:
            seconds = self._limits.first_token_timeout
            self._expire(
                f"no token within {seconds:g} s (--first-token-timeout)",
                Cause.FIRST_TOKEN_TIMEOUT,
            )

    def _too_long(self) -> None:
        seconds = self._limits.turn_timeout
        self._expire(
            f"the answer took more than {seconds:g} s (--turn-timeout)",
            Cause.TURN_TIMEOUT,
        )

    def _expire(self, message: str, cause: Cause) -> None:
        self.stop()
        self._expired(
            TimedOut(f"{message}; try again, or raise the limit", cause=cause)
        )


class Delivery(Deadlines):
    """The listener and the time limits of the current answer.

    Each `begin` begins another answer.

    Attributes:
        listener: receives the events; None: there is no listener.
    """

    listener: Listener | None = None

    def begin(self, listener: Listener) -> None:
        """Begin an answer."""
        self.listener = listener
        self.start()

    def leave(self) -> None:
        """Send no more events."""
        self.listener = None
        self.stop()

    def filter_events(
        self, events: list[Event], why: Callable[[CCProxyError], CCProxyError]
    ) -> list[Event]:
        """The events to send: all events up to the end of the answer.

        If the wait before a retry would be too long, the answer ends with an error.

        Args:
            events: the events that have arrived.
            why: replaces an error by a more exact one, if the reason is known.
        """
        # The timer is reset for each batch, not for each token.
        if any(isinstance(event, _PIECES) or is_token(event) for event in events):
            self.token()
        for position, event in enumerate(events):
            if isinstance(event, _PIECES):
                continue
            match event:
                case UpstreamRetry(delay_seconds=delay_seconds):
                    if not self.can_wait(delay_seconds):
                        error = RateLimited(
                            "the model's provider asks for a longer wait than this "
                            "request may take",
                            retry_after_seconds=delay_seconds,
                            cause=Cause.WAIT_TOO_LONG,
                        )
                        return [*events[:position], Failed(why(error))]
                    self.waiting()
                case Finished() | Failed():
                    return events[: position + 1]
        return events


class _Budget(msgspec.Struct):
    max_tokens: int | None = None


_decode_budget = msgspec.json.Decoder(_Budget).decode


class TurnReader:
    """Reads the answers of one CLI.

    Attributes:
        delivery: the listener and the time limits of the current answer.

    Args:
        context: clock, limits and callbacks.
        controls: sends control requests to the CLI.
        failed: called if the CLI cannot be limited to one request.
        timed_out: called if a time limit has passed, with the limit's error or the
            provider's last refusal.
        error_log: returns the CLI's stderr of this turn.
        ended: called before the listener gets the last event.
    """

    def __init__(
        self,
        context: CLIContext,
        controls: ControlChannel,
        *,
        failed: Callable[[Failure], None],
        timed_out: Callable[[CCProxyError], None],
        error_log: Callable[[], str],
        ended: Callable[[], None],
    ) -> None:
        self._context = context
        self._error_log = error_log
        self._ended = ended
        self._guard = RequestGuard(controls, context.clock, failed)
        self.delivery = Delivery(
            context.limits,
            context.clock,
            lambda error: timed_out(self._turn.timeout_error(error)),
        )
        self._costs = context.cost_tracker()
        self._turn = TurnDecoder(0.0, may_begin=False)
        self._is_short = False
        self._undelivered: list[Event] = []

    @property
    def is_settled(self) -> bool:
        """Whether the CLI has ended the turn."""
        return self._turn.is_settled

    @property
    def would_send_own_request(self) -> bool:
        """Whether the CLI is about to send a request of its own."""
        return self._turn.will_send_own_request and not self._guard.is_closed

    @property
    def is_spoiled(self) -> bool:
        """Whether the CLI would send a request of its own, or may lack features."""
        return self._turn.may_lose_features or self.would_send_own_request

    @property
    def is_ending(self) -> bool:
        """Whether the CLI has ended the turn, or is about to end it."""
        return self._turn.is_settled or self._turn.will_send_own_request

    def begin(self, body: ComposedBody, listener: Listener) -> None:
        """Prepare to read the answer to a question."""
        self._guard.reset()
        self._is_short = _is_short(body.json)
        self._costs.model = self._context.full_id(body.model)
        self._turn = TurnDecoder(
            self._context.wall_seconds(), spent_usd=self._costs.total_dollars
        )
        self.delivery.begin(listener)

    def begin_none(self) -> None:
        """Prepare to read a turn in which the CLI must not send a request."""
        self._guard.reset(is_closed=True)
        self._turn = TurnDecoder(0.0, may_begin=False)

    def is_unexpected(self, record: Record) -> bool:
        """Whether a record begins a message that was not requested."""
        return self._turn.is_unexpected(record)

    def take_delta(self, record: Record) -> bool:
        """Take a record that is a delta of the current message; False: it is not.

        A delta never ends the answer, so its events wait for `deliver`.
        """
        events = self._turn.decode_delta(record)
        if events is None:
            return False
        if self.delivery.listener is not None:
            self._undelivered += events
        return True

    def receive(self, record: Record) -> None:
        """Take a record; its events wait for `deliver`, unless they end the answer.

        Raises:
            WireError: a part of the record has an unknown shape.
        """
        if isinstance(record, StreamLine):
            if isinstance(record.event, MessageStartEvent):
                self._guard.answer_begun(is_short=self._is_short)
        elif isinstance(record, Result | ApiRetry | RateLimitEvent):
            self._costs.receive(record)
        if is_failure(record):
            self._turn.note_logged(last_logged_error(self._error_log()))
        events = self._turn.receive(record)
        if events and self.delivery.listener is not None:
            self._undelivered += events
            if self._turn.is_over:
                # `deliver` changes the worker's state before the next record.
                self.deliver()

    def deliver(self) -> None:
        """Send the events so far to the listener."""
        events, self._undelivered = self._undelivered, []
        listener = self.delivery.listener
        if listener is None or not events:
            return
        delivered = self.delivery.filter_events(events, self._turn.timeout_error)
        if isinstance(delivered[-1], Finished | Failed):
            self.delivery.leave()
            self._ended()
        listener.receive(delivered)

    def fail(self, error: CCProxyError) -> None:
        """End the answer, with an error if it is not whole."""
        self._undelivered += self._turn.lose(error)
        self.deliver()

    def stop(self) -> None:
        """Stop the guard: the turn is over."""
        self._guard.stop()


def _is_short(body: bytes) -> bool:
    """Whether the body asks for a very short answer."""
    if len(body) > _SEARCHED_BYTES:
        return False
    budget = _decode_budget(body).max_tokens
    return budget is not None and budget <= _FEW_TOKENS
