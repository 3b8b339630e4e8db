"""Decodes the CLI's records of one turn of native mode to stream events. Pure.

==========  ====================  ============================================
phase       entered by            left by
==========  ====================  ============================================
WAITING     the question          ``message_start``, a whole message
STREAMING   ``message_start``     ``message_delta`` with a ``stop_reason``
WHOLE       a message without     ``message_start`` (agent tools), ``result``
            stream events, or
            a stop reason
OVER        ``Finished`` or       never
            ``Failed``
==========  ====================  ============================================

If the request requires a call or has a schema, text is held back until the kind of the
answer is known. If a call follows, the text is sent before the call. If a required call
does not follow, the model is asked once more. If an answer in the form of the schema
follows, the text is dropped.

``message_stop`` and a ``message_delta`` without a stop reason do not end the answer:
the CLI writes them when the connection was lost, before it repeats the request. After
some stop reasons (``max_tokens``, ``refusal``, ``tool_use`` of a client's tool) the CLI
would continue by itself. These end the turn, and the process must be stopped before it
continues.

Source: docs/claude-cli-protocol.md, "Ends".
"""

from collections.abc import Collection, Mapping

from msgspec import Raw
from typing_extensions import override

from ccproxy.claude.native.block_writer import BlockWriter, HeldText
from ccproxy.claude.native.structured_output import TOOL, StructuredAnswer
from ccproxy.claude.native.tool_calls import ToolCallDecoder
from ccproxy.claude.native.usage_counter import UsageCounter
from ccproxy.claude.observer import turn_cost
from ccproxy.claude.protocol.codec import Record
from ccproxy.claude.protocol.failures import error_for
from ccproxy.claude.protocol.records import ApiRetry, Init, RateLimitEvent, Result
from ccproxy.claude.protocol.stream import (
    AssistantLine,
    BlockDeltaEvent,
    BlockStartEvent,
    BlockStopEvent,
    InputPiece,
    MessageDeltaEvent,
    MessageStartEvent,
    OpaqueDeltaEvent,
    Piece,
    SignaturePiece,
    StopPart,
    StreamLine,
    StreamPart,
    TextPiece,
    ThinkingPiece,
    UserLine,
)
from ccproxy.claude.protocol.turn_failures import FallibleTurn, TurnPhase
from ccproxy.core.blocks import Block, Text, Thinking, ToolUse
from ccproxy.core.errors import (
    CCProxyError,
    InvalidRequest,
    SchemaNotSatisfied,
)
from ccproxy.core.stream import Event, Finished, FinishReason, Restarted

_RETRIES_USED_UP = "error_max_structured_output_retries"

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
}
_NO_DETAILS = (b"null", b"")
# Events that come only between the beginning of a message and its end.
_PIECES = (BlockStartEvent, BlockDeltaEvent, OpaqueDeltaEvent, MessageDeltaEvent)

# After these stop reasons, the CLI sends another request within milliseconds. After a
# call, SIGTERM makes the CLI give up the call and send another request.
_CUT_SHORT = frozenset(
    {FinishReason.LENGTH, FinishReason.REFUSAL, FinishReason.TOOL_USE}
)


class NativeTurnDecoder(FallibleTurn):
    """Decodes the records of one turn.

    Args:
        wall_seconds: Unix time of the question; the time until the reset of a rate
            limit is counted from it.
        tool_names: the client's tools; the CLI runs all other tools by itself.
        must_call: whether the answer has to be a call of a client's tool.
        has_schema: whether the answer has to satisfy a schema.
        reports_own_calls: whether calls of Claude Code's own tools are sent to the
            client.
        after: the id of the message with the calls whose results begin this turn; None:
            the CLI was not suspended.
        spent_usd: the costs that the CLI has reported before this turn.
        before: the id of the last message of the previous turn; its records are
            ignored.
    """

    def __init__(
        self,
        wall_seconds: float,
        tool_names: Collection[str] = (),
        *,
        must_call: bool = False,
        has_schema: bool = False,
        reports_own_calls: bool = False,
        after: str | None = None,
        spent_usd: float = 0.0,
        before: str | None = None,
    ) -> None:
        super().__init__(wall_seconds)
        self._spent_usd = spent_usd
        self._before = before
        self._must_call = must_call
        self._answer = StructuredAnswer() if has_schema else None
        self._blocks = BlockWriter()
        self._text = HeldText(self._blocks, is_held=must_call or has_schema)
        self._calls = ToolCallDecoder(
            tool_names,
            self._answer,
            self._text,
            self._blocks,
            reports_own=reports_own_calls,
        )
        self._has_reminded = False
        self._must_remind = False
        # Why the answer of the last message was rejected.
        self._void: str | None = None
        self._message_id: str | None = after
        self._streamed_id: str | None = after
        self._stop = StopPart()
        self._end: MessageDeltaEvent | None = None
        # After a suspension, the CLI's total includes the messages before the calls.
        self._usage = UsageCounter(is_partial=after is not None)
        self._cut_short = False

    @property
    def will_send_own_request(self) -> bool:
        """Whether the CLI is about to send a request of its own."""
        return self._cut_short and not self.waits_for_results

    @property
    def waits_for_results(self) -> bool:
        """Whether the CLI waits for the results of the client's tools."""
        return self._stop.stop_reason == "tool_use" and self._calls.are_clients_only

    @property
    def has_own_calls(self) -> bool:
        """Whether Claude Code has used its own tools in this turn."""
        return self._calls.has_used_own

    @property
    def message_id(self) -> str | None:
        """The id of the last message of the turn."""
        return self._message_id

    def take_reminder(self) -> bool:
        """Whether the model must be reminded of the required call now; true once."""
        owed, self._must_remind = self._must_remind, False
        return owed

    @override
    def _received(self, record: Record) -> list[Event]:
        if self.is_over:
            return []
        match record:
            case StreamLine(parent_tool_use_id=None):
                return self._streamed(record.event)
            case AssistantLine(parent_tool_use_id=None):
                return self._assistant(record)
            case ApiRetry():
                return self._refused(record)
            case RateLimitEvent():
                self._refusals.note_limit(record.rate_limit_info)
            case Init() if self._answer is not None and not record.has(TOOL):
                self._cut_short = True
                return self._fail(
                    InvalidRequest(
                        "the claude CLI does not accept the schema of the answer; "
                        "simplify it: JSON Schema draft 7, no empty `enum`, every "
                        "`$ref` within the schema"
                    )
                )
            case UserLine(parent_tool_use_id=None):
                return self._user(record)
            case Result():
                return self._result(record)
        return []

    def _user(self, record: UserLine) -> list[Event]:
        if record.is_synthetic and self._phase is TurnPhase.STREAMING:
            # The CLI keeps the incomplete answer and asks the model to continue. The
            # two messages are not one answer.
            return self._connection_lost()
        if self._answer is not None:
            # A rejected answer becomes void when the next answer begins. If the model
            # is cut off before that, the rejected answer stays.
            self._void = self._answer.rejected(record.message) or self._void
        return []

    def _streamed(self, event: StreamPart) -> list[Event]:
        if isinstance(event, _PIECES) and self._phase is not TurnPhase.STREAMING:
            return self._not_begun()
        match event:
            case BlockDeltaEvent(delta=delta):
                return self._delta(delta)
            case OpaqueDeltaEvent(delta=raw) if not self._calls.is_hidden:
                return self._text.opaque(bytes(raw))
            case BlockStartEvent(content_block=raw):
                return self._calls.open(Block.decode(raw))
            case BlockStopEvent():
                return self._calls.close()
            case MessageStartEvent(head=head):
                self._streamed_id = head.id
                return self._begin(head.id, head.model, head.usage, TurnPhase.STREAMING)
            case MessageDeltaEvent(stop=stop, usage=usage):
                self._usage.message(usage)
                if stop.stop_reason is not None:
                    self._end = event
                    return self._stopped(stop, stop.stop_reason)
        return []

    def _delta(self, delta: Piece) -> list[Event]:
        match delta:
            case TextPiece(text=text) if text:
                return self._text.feed(text)
            case ThinkingPiece(thinking=thinking) if thinking:
                return self._blocks.thinking(thinking)
            case SignaturePiece(signature=signature) if signature:
                return self._blocks.signature(signature)
            case InputPiece(partial_json=json) if json:
                return self._calls.arguments(json)
        return []

    def _begin(
        self, identifier: str, model: str, usage: Raw, phase: TurnPhase
    ) -> list[Event]:
        events: list[Event] = []
        restarted = self._phase is TurnPhase.STREAMING
        self._usage.begin(usage, restarted=restarted)
        if restarted:
            self._text.drop_message()
            if self._answer is not None:
                self._answer.void()
            events += self._blocks.restart(Restarted())
        else:
            self._text.begin_message()
        if self._void is not None:
            events += self._blocks.restart(Restarted(self._void))
            self._void = None
        self._phase = phase
        self._calls.begin_message(model)
        self._refusals.note_answer()
        self._message_id = identifier
        return [*events, *self._blocks.message(model, self._usage.so_far)]

    def _stopped(self, stop: StopPart, stop_reason: str) -> list[Event]:
        self._phase = TurnPhase.WHOLE
        self._stop = stop
        reason = _FINISH_REASONS.get(stop_reason)
        if stop_reason == "tool_use" and self._calls.has_called:
            reason = FinishReason.TOOL_USE
        self._cut_short = reason in _CUT_SHORT
        if not self._cut_short:
            return []
        is_answered = self._answer is not None and self._answer.is_given
        prose = [] if is_answered or self._void else self._text.flush()
        return [*prose, *self._finish(stop_reason, None)]

    def _assistant(self, record: AssistantLine) -> list[Event]:
        message = record.message
        if record.is_synthetic:
            self._refusals.note_error(record.error)
            return []
        if message.id in (self._streamed_id, self._before):
            return []
        events: list[Event] = []
        if message.id != self._message_id:
            events += self._begin(
                message.id, message.model, message.usage, TurnPhase.WHOLE
            )
        for raw in message.content:
            events += self._whole_block(Block.decode(raw))
        if message.stop_reason is not None:
            stop = StopPart(
                message.stop_reason, message.stop_sequence, message.stop_details
            )
            events += self._stopped(stop, message.stop_reason)
        return events

    def _whole_block(self, block: Block) -> list[Event]:
        match block.value:
            case Text(text=text):
                return self._text.feed(text) if text else []
            case Thinking(thinking=thinking, signature=signature):
                thought = self._blocks.thinking(thinking) if thinking else []
                return [
                    *thought,
                    *(self._blocks.signature(signature) if signature else ()),
                ]
            case ToolUse(input=arguments):
                opened = self._calls.open(block)
                json = self._calls.arguments(bytes(arguments).decode())
                return [*opened, *json, *self._calls.close()]
        return [*self._calls.open(block), *self._calls.close()]

    def _result(self, result: Result) -> list[Event]:
        if result.is_error or result.subtype != "success":
            return self._fail(self._error(result))
        if self._phase is TurnPhase.WAITING:
            # The text of the result may belong to an earlier turn.
            return self._not_asked()
        if self._phase is TurnPhase.STREAMING:
            return self._not_resumed()
        if self._must_call and not self._has_reminded:
            return self._remind()
        if self._answer is not None:
            error = self._answer.error()
            if error is not None:
                return self._fail(error)
        stop_reason = result.stop_reason or self._stop.stop_reason or ""
        if stop_reason == "tool_use":
            # The calls were of Claude Code's own tools, or the answer by a schema.
            stop_reason = ""
        prose = self._text.fallback() if self._must_call else []
        return [*prose, *self._finish(stop_reason, result)]

    def _remind(self) -> list[Event]:
        """Request a reminder of the required call; `take_reminder` returns it."""
        self._has_reminded = self._must_remind = True
        self._usage.count_alone()
        self._text.set_aside()
        self._phase = TurnPhase.WAITING
        return []

    def _error(self, result: Result) -> CCProxyError:
        if result.subtype == _RETRIES_USED_UP:
            return SchemaNotSatisfied(
                "the model's answers did not satisfy the schema; try again, or "
                "describe the wanted answer in more detail"
            )
        return error_for(self._refusals.refusal(result))

    def _finish(self, stop_reason: str, result: Result | None) -> list[Event]:
        self._phase = TurnPhase.OVER
        stop, end = self._stop, self._end
        if stop_reason in ("", "end_turn") and stop.stop_sequence is not None:
            stop_reason = "stop_sequence"
        details = bytes(stop.stop_details)
        finished = Finished(
            stop_reason or "end_turn",
            self._usage.total(None if result is None else result.usage),
            stop_sequence=stop.stop_sequence,
            stop_details=None if details in _NO_DETAILS else Raw(details),
            cost_usd=turn_cost(self._spent_usd, result),
            delta_fields={} if end is None else end.delta_fields,
            event_fields={} if end is None else end.event_fields,
        )
        return [*self._blocks.close(), finished]
