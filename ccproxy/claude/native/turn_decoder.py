"""One turn of the model, from the CLI's records to events. Pure.

==========  ====================  ============================================
phase       entered by            leaves it
==========  ====================  ============================================
WAITING     the question          ``message_start``, a whole message
STREAMING   ``message_start``     ``message_delta`` with a ``stop_reason``
WHOLE       a message without     ``message_start`` (agent tools), ``result``
            stream events, or
            a stop reason
OVER        ``Finished`` or       never
            ``Failed``
==========  ====================  ============================================

Where the answer has a form to keep (a call is demanded, or a schema), the model's prose
is held back until it is known what comes of it: in front of a call it is told, in place
of one the model is asked once more, and beside an answer by a schema it is dropped.

``message_stop`` and a ``message_delta`` without reason end nothing: so the CLI
closes an answer that its upstream cut, before it asks again. A reason after
which the CLI would go on by itself (``max_tokens``, ``refusal``, ``tool_use`` of a
client's tool) ends the turn here; its process must then be stopped before it does.

Source: docs/claude-cli-protocol.md, "Ends".
"""

from collections.abc import Collection, Mapping
from enum import Enum, auto

from ccproxy.claude.cost_tracker import turn_cost
from ccproxy.claude.native.events import (
    Event,
    Failed,
    Finished,
    MessageStarted,
    Restarted,
    ThinkingDelta,
    ThinkingSigned,
    Waiting,
)
from ccproxy.claude.native.held_text import HeldText
from ccproxy.claude.native.structured_output import TOOL, StructuredAnswer
from ccproxy.claude.native.tool_calls import ToolCallDecoder
from ccproxy.claude.native.usage_counter import UsageCounter
from ccproxy.claude.protocol.failures import Refusal, error_for, refusal_of_retry
from ccproxy.claude.protocol.records import (
    ApiRetry,
    AssistantMessage,
    ContentBlock,
    Init,
    MessageBody,
    RateLimitEvent,
    Record,
    Result,
    SSEEvent,
    StreamEvent,
    UserMessage,
)
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    InvalidRequest,
    SchemaNotSatisfied,
)
from ccproxy.core.stream import FinishReason

_SYNTHETIC = "<synthetic>"
_RETRIES_USED_UP = "error_max_structured_output_retries"

# A login that the upstream refused is refreshed by the CLI once; from the second
# refusal on, its ten retries would only keep the client waiting.
_LOGIN_ATTEMPTS = 2

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
}
# What only comes between the beginning of a message and its end.
_PIECES = frozenset({"content_block_start", "content_block_delta", "message_delta"})

# After these the CLI asks the model to go on, within milliseconds; after a call, when
# it is stopped gently and gives the call up.
_CUT_SHORT = frozenset(
    {FinishReason.LENGTH, FinishReason.REFUSAL, FinishReason.TOOL_USE}
)


class _Phase(Enum):
    WAITING = auto()
    STREAMING = auto()
    WHOLE = auto()
    OVER = auto()


class NativeTurnDecoder:
    """The state of one answer.

    Args:
        wall_seconds: Unix time at the start, to tell how long a limit lasts.
        tool_names: the client's tools; a call of any other is the CLI's own affair.
        must_call: the answer has to be a call of one of them.
        has_schema: the answer has to satisfy a schema.
        tells_own_calls: tell what the CLI does with tools of its own.
        after: the id of the message that this turn goes on from, if the CLI has been
            waiting for the results of its calls.
        spent_usd: what the CLI had told of its costs before.
        before: the id of the message of the turn before, which is not this one's.
    """

    def __init__(
        self,
        wall_seconds: float,
        tool_names: Collection[str] = (),
        *,
        must_call: bool = False,
        has_schema: bool = False,
        tells_own_calls: bool = False,
        after: str | None = None,
        spent_usd: float = 0.0,
        before: str | None = None,
    ) -> None:
        self._wall_seconds = wall_seconds
        self._spent_usd = spent_usd
        self._before = before
        self._must_call = must_call
        self._answer = StructuredAnswer() if has_schema else None
        self._prose = HeldText(is_held=must_call or has_schema)
        self._calls = ToolCallDecoder(
            tool_names, self._answer, self._prose, tells_own=tells_own_calls
        )
        self._has_asked_again = False
        self._owes_question = False
        # Why the answer of the message before will not do.
        self._void: str | None = None
        self._phase = _Phase.WAITING
        self._message_id: str | None = after
        self._streamed_id: str | None = after
        self._stop_reason: str | None = None
        self._stop_sequence: str | None = None
        # The CLI's own sum goes back to before the calls.
        self._tally = UsageCounter(is_partial=after is not None)
        self._cut_short = False
        self._synthetic: AssistantMessage | None = None
        self._retry: Refusal | None = None
        self._limit_reset_seconds: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether the last event has been told."""
        return self._phase is _Phase.OVER

    @property
    def goes_on(self) -> bool:
        """Whether the CLI is about to ask the model again, by itself."""
        return self._cut_short and not self.waits

    @property
    def waits(self) -> bool:
        """Whether the CLI waits for the results of the client's tools."""
        return self._stop_reason == "tool_use" and self._calls.are_clients_only

    @property
    def has_own_calls(self) -> bool:
        """Whether Claude Code has used tools of its own in this turn."""
        return self._calls.has_used_own

    @property
    def message_id(self) -> str | None:
        """The id of the message that ended the turn."""
        return self._message_id

    def take_question(self) -> bool:
        """Whether the model has to be asked once more, for its call; true once."""
        owed, self._owes_question = self._owes_question, False
        return owed

    def timeout_error(self, otherwise: CCProxyError) -> CCProxyError:
        """Why nothing came: what the CLI was last refused for, if it was."""
        return otherwise if self._retry is None else error_for(self._retry)

    def receive(self, record: Record) -> list[Event]:
        """What a record means for the client; nothing after the turn's end."""
        if self._phase is _Phase.OVER:
            return []
        match record:
            case StreamEvent(parent_tool_use_id=None):
                return self._streamed(record.event)
            case AssistantMessage(parent_tool_use_id=None):
                return self._assistant(record)
            case ApiRetry():
                return self._refused(record)
            case RateLimitEvent():
                info = record.rate_limit_info
                if info.status == "rejected":
                    self._limit_reset_seconds = info.resets_at or self._wall_seconds
                return []
            case Init() if self._answer is not None and not record.has(TOOL):
                self._cut_short = True
                return self._fail(
                    InvalidRequest(
                        "the claude CLI does not take the schema of the answer; "
                        "simplify it: JSON Schema draft 7, no empty `enum`, every "
                        "`$ref` within the schema"
                    )
                )
            case UserMessage(is_synthetic=True, parent_tool_use_id=None) if (
                self._phase is _Phase.STREAMING
            ):
                # The CLI keeps the half answer and asks for the other half, in
                # words of its own: what comes then is not one answer.
                return self._fail(
                    ClaudeFailed(
                        "the connection to the model was lost in mid-answer, and the "
                        "answer could not be asked for again; try again"
                    )
                )
            case UserMessage(parent_tool_use_id=None) if self._answer is not None:
                # Void it is when another comes; one that was cut off stays as it is.
                self._void = self._answer.rejected(record.message) or self._void
                return []
            case Result():
                return self._result(record)
            case _:
                return []

    def _streamed(self, event: SSEEvent) -> list[Event]:
        if event.type in _PIECES and self._phase is not _Phase.STREAMING:
            return self._fail(
                ClaudeFailed("the claude CLI told a piece of no answer that has begun")
            )
        if event.type == "content_block_delta" and event.delta is not None:
            if event.delta.text:
                return self._prose.said(event.delta.text)
            if event.delta.thinking:
                return [ThinkingDelta(event.delta.thinking)]
            if event.delta.signature:
                return [ThinkingSigned(event.delta.signature)]
            if event.delta.partial_json:
                return self._calls.arguments(event.delta.partial_json)
        elif event.type == "content_block_start" and event.content_block is not None:
            return self._calls.open(event.content_block)
        elif event.type == "content_block_stop":
            return self._calls.close()
        elif event.type == "message_start" and event.message is not None:
            self._streamed_id = event.message.id
            return self._begin(event.message, _Phase.STREAMING)
        elif event.type == "message_delta" and event.delta is not None:
            self._tally.message(event.usage)
            if event.delta.stop_reason is not None:
                self._stop_sequence = event.delta.stop_sequence
                return self._stopped(event.delta.stop_reason)
        return []

    def _begin(self, message: MessageBody, phase: _Phase) -> list[Event]:
        events: list[Event] = []
        restarted = self._phase is _Phase.STREAMING
        self._tally.begin(message.usage, restarted=restarted)
        if restarted:
            self._prose.void()
            if self._answer is not None:
                self._answer.void()
            events.append(Restarted())
        else:
            self._prose.begin()
        if self._void is not None:
            events.append(Restarted(self._void))
            self._void = None
        self._phase = phase
        self._calls.begin(message.model)
        self._retry = None
        self._message_id = message.id
        return [*events, MessageStarted(message.model, self._tally.so_far)]

    def _stopped(self, stop_reason: str) -> list[Event]:
        self._phase = _Phase.WHOLE
        self._stop_reason = stop_reason
        reason = _FINISH_REASONS.get(stop_reason)
        if stop_reason == "tool_use" and self._calls.has_called:
            reason = FinishReason.TOOL_USE
        self._cut_short = reason in _CUT_SHORT
        if not self._cut_short:
            return []
        is_answered = self._answer is not None and self._answer.is_given
        prose = [] if is_answered or self._void else self._prose.told()
        return [*prose, *self._finish(reason, None)]

    def _assistant(self, record: AssistantMessage) -> list[Event]:
        message = record.message
        if message.model == _SYNTHETIC:
            self._synthetic = record
            return []
        if message.id in (self._streamed_id, self._before):
            return []
        events: list[Event] = []
        if message.id != self._message_id:
            events += self._begin(message, _Phase.WHOLE)
        for block in message.content:
            if block.text:
                events += self._prose.said(block.text)
            elif block.type == "thinking":
                events += _thinking(block)
            else:
                events += self._calls.open(block)
                events += self._calls.arguments(bytes(block.input).decode())
                events += self._calls.close()
        if message.stop_reason is not None:
            self._stop_sequence = message.stop_sequence
            events += self._stopped(message.stop_reason)
        return events

    def _refused(self, record: ApiRetry) -> list[Event]:
        delay_seconds = record.retry_delay_ms / 1000
        used_up = self._limit_reset_seconds is not None
        self._retry = refusal_of_retry(record, used_up=used_up)
        if self._retry.is_about_login and record.attempt >= _LOGIN_ATTEMPTS:
            return self._fail(error_for(self._retry))
        return [Waiting(record.error or "unknown", record.attempt, delay_seconds)]

    def _result(self, result: Result) -> list[Event]:
        if result.is_error or result.subtype != "success":
            return self._fail(self._error(result))
        if self._phase is _Phase.WAITING:
            # What it says instead may be another turn's, told twice.
            return self._fail(
                ClaudeFailed("the claude CLI ended the turn without asking the model")
            )
        if self._phase is _Phase.STREAMING:
            return self._fail(ClaudeFailed("the answer broke off and was not resumed"))
        if self._must_call and not self._has_asked_again:
            return self._ask_again()
        if self._answer is not None:
            error = self._answer.error()
            if error is not None:
                return self._fail(error)
        reason = _FINISH_REASONS.get(result.stop_reason or self._stop_reason or "")
        prose = self._prose.instead() if self._must_call else []
        return [*prose, *self._finish(reason, result)]

    def _ask_again(self) -> list[Event]:
        """The answer is prose, and was to be a call."""
        self._has_asked_again = self._owes_question = True
        self._tally.count_alone()
        self._prose.set_aside()
        self._phase = _Phase.WAITING
        return []

    def _error(self, result: Result) -> CCProxyError:
        if result.subtype == _RETRIES_USED_UP:
            return SchemaNotSatisfied(
                "the model's answers did not satisfy the schema; try again, or "
                "describe better what you want"
            )
        synthetic = self._synthetic
        reset_seconds = self._limit_reset_seconds
        after: float | None = None
        if reset_seconds is not None:
            after = max(0.0, reset_seconds - self._wall_seconds)
        elif self._retry is not None:
            after = self._retry.retry_after_seconds
        return error_for(
            Refusal(
                kind=synthetic.error if synthetic else None,
                status=result.api_error_status,
                api_type=result.api_error_type,
                terminal_reason=result.terminal_reason,
                text=result.result or "; ".join(result.errors) or result.subtype,
                retry_after_seconds=after,
                used_up=reset_seconds is not None,
            )
        )

    def _finish(
        self, reason: FinishReason | None, result: Result | None
    ) -> list[Event]:
        self._phase = _Phase.OVER
        usage = self._tally.total(None if result is None else result.usage)
        cost_usd = turn_cost(self._spent_usd, result)
        reason = reason or FinishReason.STOP
        return [Finished(reason, usage, self._stop_sequence, cost_usd)]

    def _fail(self, error: CCProxyError) -> list[Event]:
        self._phase = _Phase.OVER
        return [Failed(error)]


def _thinking(block: ContentBlock) -> list[Event]:
    events: list[Event] = []
    if block.thinking:
        events.append(ThinkingDelta(block.thinking))
    if block.signature:
        events.append(ThinkingSigned(block.signature))
    return events
