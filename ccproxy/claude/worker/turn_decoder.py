"""Decodes the CLI's records of one answer to stream events. Pure.

=========  ======================  ===========================================
phase      entered by              left by
=========  ======================  ===========================================
WAITING    the question            ``message_start``, a whole message
STREAMING  ``message_start``       ``message_delta`` with a ``stop_reason``
CUT        ``message_stop``        ``message_start``, ``result``
           without a stop reason,
           ``api_retry``
WHOLE      a stop reason, a        ``result``
           whole message
OVER       `Finished`, `Failed`    never
=========  ======================  ===========================================

A stop reason after which the CLI sends a request of its own ends the answer at once.
Any other answer ends with the CLI's ``result``, which has the cost. Records that the
CLI adds after a whole answer, such as a result for an unknown tool, are not sent to the
client.

Every tool call is a call of a client's tool, whatever its name and the stop reason are.

The CLI begins a message once for the question, once for each ``api_retry``, and once
more after an answer that was cut: before its first block by all versions, after a
complete block by 2.1.251 to 2.1.268. Any other message answers a request that the proxy
did not make.

Source: docs/claude-cli-protocol.md, "Ends", "Requests of its own" and "Retries".
"""

from collections.abc import Mapping, Sequence

from msgspec import Raw
from typing_extensions import override

from ccproxy.claude.observer import turn_cost
from ccproxy.claude.protocol.codec import HalvedDeltas, Record
from ccproxy.claude.protocol.failures import provider_error
from ccproxy.claude.protocol.records import ApiRetry, RateLimitEvent, Result
from ccproxy.claude.protocol.stream import (
    AssistantLine,
    BlockDeltaEvent,
    BlockStartEvent,
    BlockStopEvent,
    ExtendedDeltaEvent,
    HalvedDeltaEvent,
    InputPiece,
    MessageDeltaEvent,
    MessageHead,
    MessageStartEvent,
    MessageStopEvent,
    OpaqueDeltaEvent,
    StopPart,
    StreamLine,
    TextPiece,
    ThinkingPiece,
    UserLine,
    is_message,
    merged_usage,
)
from ccproxy.claude.protocol.turn_failures import FallibleTurn, TurnPhase
from ccproxy.core.blocks import Block, Text, Thinking, ToolUse, is_blank
from ccproxy.core.errors import CCProxyError
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)
from ccproxy.core.tool_calls import given_arguments

_NO_DETAILS = (b"null", b"")
_BAD_REQUEST = 400

# After these stop reasons the CLI sends a request of its own within milliseconds, to
# continue the answer, unless the message has a call. `tool_use` may come without a
# call.
_CUT_SHORT = frozenset({"max_tokens", "model_context_window_exceeded", "tool_use"})
# After these stop reasons, the CLI sends no request, even if the answer is empty.
_FINAL = frozenset({"refusal", "pause_turn"})


class TurnDecoder(FallibleTurn):
    """Decodes the records of one answer.

    Args:
        wall_seconds: Unix time of the question; the time until the reset of a rate
            limit is counted from it.
        spent_usd: the costs that the CLI has reported before this answer.
        may_begin: whether a message may begin; False if no request is expected.
    """

    def __init__(
        self, wall_seconds: float, *, spent_usd: float = 0.0, may_begin: bool = True
    ) -> None:
        super().__init__(wall_seconds)
        self._spent_usd = spent_usd
        self._may_begin = may_begin
        self._message_id: str | None = None
        self._is_streamed = False
        self._blocks = 0
        self._has_text = self._has_call = False
        self._halved = HalvedDeltas()
        self._stop = StopPart()
        self._end: MessageDeltaEvent | None = None
        # The arguments in the ``content_block_start`` of open calls, by index. They are
        # sent unless deltas replace them.
        self._given: dict[int, str] = {}
        self._usage = Usage()
        self._asks_again = False
        self._is_settled = False
        self._is_bad_request = False

    @property
    def will_send_own_request(self) -> bool:
        """Whether the CLI is about to send a request of its own, if it can."""
        return self._asks_again and not self._is_settled

    @property
    def is_settled(self) -> bool:
        """Whether the CLI has ended the turn."""
        return self._is_settled

    @property
    def may_lose_features(self) -> bool:
        """Whether the provider answered 400, after which the CLI may drop features."""
        return self._is_bad_request

    def lose(self, error: CCProxyError) -> list[Event]:
        """End the answer because the process is lost; a complete answer does not fail.

        Args:
            error: why the process is lost.
        """
        whole = self._phase is TurnPhase.WHOLE
        return self._finish(None) if whole else [Failed(error)]

    def is_unexpected(self, record: Record) -> bool:
        """Whether a record begins a message that no question and no retry requested."""
        if self._may_begin or not is_message(record):
            return False
        if isinstance(record, AssistantLine):
            return record.message.id != self._message_id
        return True

    def decode_delta(self, record: Record) -> list[Event] | None:
        """The events of a record that is a delta of the current message.

        Returns:
            The events, or None for any other record. Such a record changes nothing.
        """
        if (
            self._phase is TurnPhase.STREAMING
            and isinstance(record, StreamLine)
            and isinstance(record.event, BlockDeltaEvent)
            and record.parent_tool_use_id is None
        ):
            return self._delta(record.event)
        return None

    @override
    def receive(self, record: Record) -> list[Event]:
        events = self.decode_delta(record)
        return super().receive(record) if events is None else events

    @override
    def _received(self, record: Record) -> list[Event]:
        match record:
            case StreamLine(parent_tool_use_id=None):
                return self._streamed(record)
            case AssistantLine(parent_tool_use_id=None):
                return self._assistant(record)
            case ApiRetry():
                return self._refused(record)
            case RateLimitEvent():
                self._refusals.note_limit(record.rate_limit_info)
            case UserLine(is_synthetic=True):
                return self._continued_by_cli()
            case Result():
                return self._result(record)
        return []

    def _streamed(self, line: StreamLine) -> list[Event]:
        event = line.event
        if isinstance(event, MessageStartEvent):
            self._is_streamed = True
            return self._begin(event.head, event.fields)
        if self._phase is TurnPhase.OVER or isinstance(event, MessageStopEvent):
            if self._phase is TurnPhase.STREAMING:
                self._phase = TurnPhase.CUT
                # The CLI may repeat the request without a record.
                self._may_begin = True
            return []
        if self._phase is TurnPhase.WAITING:
            return self._not_begun()
        # The CLI closes the block of an answer whose connection was lost.
        return self._piece(event) if self._phase is TurnPhase.STREAMING else []

    def _delta(self, event: BlockDeltaEvent) -> list[Event]:
        if isinstance(event, ExtendedDeltaEvent):
            rest = OpaqueDelta(bytes(event.rest), event.index)
            known = BlockDeltaEvent(event.delta, event.index)
            # The rest comes first: it has an empty signature, which the delta replaces.
            return [rest, *self._delta(known)]
        if self._halved.last is not None or isinstance(event, HalvedDeltaEvent):
            return self._deltas(self._halved.join(event))
        return self._sound_delta(event)

    def _deltas(self, events: Sequence[BlockDeltaEvent]) -> list[Event]:
        return [found for event in events for found in self._sound_delta(event)]

    def _sound_delta(self, event: BlockDeltaEvent) -> list[Event]:
        delta, index = event.delta, event.index
        if isinstance(delta, TextPiece):
            text = delta.text
            if not self._has_text:
                self._has_text = not is_blank(text)
            return [TextDelta(text, index)] if text else []
        if isinstance(delta, ThinkingPiece):
            return [ThinkingDelta(delta.thinking, index)] if delta.thinking else []
        if isinstance(delta, InputPiece):
            text = delta.partial_json
            if text:
                self._given.pop(index, None)
            return [InputJSONDelta(text, index)] if text else []
        return [SignatureDelta(delta.signature, index)] if delta.signature else []

    def _piece(self, event: object) -> list[Event]:
        match event:
            case OpaqueDeltaEvent(delta=raw, index=index):
                return [OpaqueDelta(bytes(raw), index)]
            case BlockStartEvent(content_block=raw, index=index):
                self._blocks = max(self._blocks, index + 1)
                return self._open(Block.decode(raw), index)
            case BlockStopEvent(index=index):
                return [*self._rest(), ContentBlockStop(index)]
            case MessageDeltaEvent(stop=stop, usage=usage):
                self._usage = merged_usage(usage, self._usage)
                if stop.stop_reason is not None:
                    self._end = event
                    return [*self._rest(), *self._stopped(stop)]
        return []

    def _rest(self) -> list[Event]:
        """End all open blocks; returns their content that was held back."""
        given, self._given = self._given, {}
        calls = [InputJSONDelta(json, index) for index, json in given.items()]
        return [*self._deltas(self._halved.rest()), *calls]

    def _begin(self, head: MessageHead, fields: Mapping[str, Raw]) -> list[Event]:
        self._may_begin = False
        if self._phase is TurnPhase.OVER:
            return []
        is_void = self._phase is not TurnPhase.WAITING
        self._phase = TurnPhase.STREAMING
        self._message_id = head.id
        self._blocks = 0
        self._has_text = self._has_call = False
        self._halved = HalvedDeltas()
        self._refusals.note_answer()
        self._given = {}
        self._end = None
        self._usage = merged_usage(head.usage, Usage())
        begun = MessageStart(head.model, self._usage, head.id, fields)
        return [Restarted(), begun] if is_void else [begun]

    def _open(self, block: Block, index: int) -> list[Event]:
        """Begin a block; its content so far is sent as deltas."""
        self._note_content(block.value)
        opened = block
        inner: list[Event] = []
        match block.value:
            case Text(text=text) if text:
                opened = block.replaced(text="")
                inner = [TextDelta(text, index)]
            case Thinking(thinking=thinking, signature=signature) if (
                thinking or signature
            ):
                opened = block.replaced(thinking="", signature="")
                inner += [ThinkingDelta(thinking, index)] if thinking else []
                inner += [SignatureDelta(signature, index)] if signature else []
            case ToolUse(input=arguments) if given_arguments(block.value):
                # Later deltas replace these arguments.
                opened = block.replaced(input={})
                self._given[index] = bytes(arguments).decode()
        return [ContentBlockStart(opened, index), *inner]

    def _note_content(self, value: object) -> None:
        match value:
            case Text(text=text):
                self._has_text = self._has_text or not is_blank(text)
            case ToolUse():
                self._has_call = True

    def _stopped(self, stop: StopPart) -> list[Event]:
        self._phase = TurnPhase.WHOLE
        self._stop = stop
        reason = stop.stop_reason
        self._asks_again = not self._has_call and (
            reason in _CUT_SHORT or (reason not in _FINAL and not self._has_text)
        )
        return self._finish(None) if self._asks_again else []

    def _assistant(self, record: AssistantLine) -> list[Event]:
        message = record.message
        if record.is_synthetic:
            self._refusals.note_error(record.error)
            return []
        if message.id == self._message_id and self._is_streamed:
            return []
        events: list[Event] = []
        if message.id != self._message_id:
            self._is_streamed = False
            head = MessageHead(message.id, message.model, message.usage)
            events += self._begin(head, {})
        if self._phase is TurnPhase.OVER:
            return []
        for raw in message.content:
            events += self._whole_block(raw)
        self._phase = TurnPhase.WHOLE
        self._usage = merged_usage(message.usage, self._usage)
        if message.stop_reason is not None:
            events += self._stopped(
                StopPart(
                    message.stop_reason, message.stop_sequence, message.stop_details
                )
            )
        return events

    def _whole_block(self, raw: Raw) -> list[Event]:
        index, self._blocks = self._blocks, self._blocks + 1
        opened = self._open(Block.decode(raw), index)
        return [*opened, *self._piece(BlockStopEvent(index))]

    @override
    def _refused(self, record: ApiRetry) -> list[Event]:
        if self._phase is TurnPhase.WHOLE:
            # The retry is not for the client's answer, which is whole.
            return []
        self._may_begin = True
        if self._phase is TurnPhase.OVER:
            return []
        if self._phase is TurnPhase.STREAMING:
            self._phase = TurnPhase.CUT
        return super()._refused(record)

    def _continued_by_cli(self) -> list[Event]:
        """Take the user's turn by which the CLI asks the model to continue."""
        self._asks_again = True
        self._may_begin = False
        if self._phase in (TurnPhase.STREAMING, TurnPhase.CUT):
            # The CLI keeps the incomplete answer; the next message would be another
            # answer.
            return self._connection_lost()
        return []

    def _result(self, result: Result) -> list[Event]:
        self._is_settled = True
        self._is_bad_request = result.api_error_status == _BAD_REQUEST
        if self._phase is TurnPhase.OVER:
            return []
        if self._phase is TurnPhase.WHOLE:
            return self._finish(result)
        if result.terminal_reason == "blocking_limit" and self._message_id is not None:
            # The proxy set this limit when the answer had begun.
            return self._connection_lost()
        if result.is_error or result.subtype != "success":
            return self._fail(provider_error(self._refusals.refusal(result)))
        if self._phase is TurnPhase.WAITING:
            return self._not_asked()
        return self._not_resumed()

    def _finish(self, result: Result | None) -> list[Event]:
        self._phase = TurnPhase.OVER
        reported = None if result is None else result.stop_reason
        details = bytes(self._stop.stop_details)
        end = self._end
        return [
            Finished(
                stop_reason=self._stop.stop_reason or reported or "end_turn",
                usage=self._usage,
                stop_sequence=self._stop.stop_sequence,
                stop_details=None if details in _NO_DETAILS else Raw(details),
                cost_usd=turn_cost(self._spent_usd, result),
                delta_fields={} if end is None else end.delta_fields,
                event_fields={} if end is None else end.event_fields,
            )
        ]
