"""Encodes answers as a stream of chunks. Pure.

The chunks of each choice:

1. the role;
2. thinking, text and calls, in the model's order;
3. the finish reason.

After the last choice, the usage is sent if the client asked for it, and then
``[DONE]``. If an answer fails, an error is the last event, without ``[DONE]``.

Source: ``CreateChatCompletionStreamResponse`` in OpenAI's document; tests with clients.
"""

from collections.abc import Sequence
from functools import partial

from msgspec import UNSET, UnsetType

from ccproxy.api.chat.reasoning import ReasoningDetail, ReasoningEncoder
from ccproxy.api.chat.response import (
    PLAIN_CALLS,
    CompletionMeta,
    annotation,
    finish_reason,
    is_complete,
    tool_errors,
)
from ccproxy.api.chat.schemas import (
    ChatCompletionChunk,
    ChunkChoice,
    ChunkDelta,
    CompletionUsage,
    stop_fields,
    usage_of,
)
from ccproxy.api.chat.tool_calls import StreamedCall, ToolCallFormat
from ccproxy.api.common.citations import CitedText
from ccproxy.api.common.restart_filter import RestartFilter
from ccproxy.api.common.tools import agent_line
from ccproxy.core.blocks import (
    Block,
    Opaque,
    RedactedThinking,
    Thinking,
    ToolUse,
)
from ccproxy.core.encoding import (
    DONE,
    TEXT,
    Encode,
    WireEvent,
    encode_json,
    halves_around_text,
)
from ccproxy.core.errors import CCProxyError
from ccproxy.core.fallbacks import fallback_model
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)
from ccproxy.web.error_formats import openai_error


class ChatStream:
    """Encodes the answers to one request as a stream of chunks.

    Attributes:
        error: the error of the first answer that failed; None: no answer failed.
    """

    def __init__(
        self,
        meta: CompletionMeta,
        choices: int,
        include_usage: bool,
        call_format: ToolCallFormat = PLAIN_CALLS,
    ) -> None:
        self._meta = meta
        self._call_format = call_format
        self._include_usage = include_usage
        self._lanes = [_Lane(index, meta.prefix) for index in range(choices)]
        self.error: CCProxyError | None = None

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before the answer begins."""
        return next((lane.model for lane in self._lanes if lane.model), "")

    @property
    def encoders(self) -> Sequence[Encode]:
        """One encoder for each choice, which takes the events of the choice."""
        return [partial(self._encode, lane) for lane in self._lanes]

    @property
    def is_over(self) -> bool:
        """Whether the last byte has been encoded."""
        return self.error is not None or all(lane.end for lane in self._lanes)

    @property
    def usage(self) -> Usage:
        """The sum over the answers that have ended."""
        ends = (lane.end for lane in self._lanes)
        return sum((end.usage for end in ends if end is not None), start=Usage())

    def _encode(self, lane: "_Lane", events: Sequence[Event]) -> Sequence[WireEvent]:
        """Encode events of one choice; a failure sets ``error``."""
        wire: list[WireEvent] = []
        for event in lane.restart_filter.filter(events):
            if self.error is not None or lane.end is not None:
                break
            match event:
                case TextDelta(text):
                    if not lane.head:
                        wire += self._begin(lane)
                    lane.cited.add(text)
                    data = lane.head + encode_json(text) + lane.tail
                    wire.append(WireEvent("", data))
                case ThinkingDelta(text):
                    lane.thinking.append(text)
                    wire += self._begin(lane)
                    wire += self._deltas(lane, ChunkDelta(reasoning_content=text))
                case AgentToolUsed():
                    line = ChunkDelta(reasoning_content=agent_line(event))
                    wire += self._begin(lane)
                    wire += self._deltas(lane, line)
                case SignatureDelta(signature):
                    thinking = "".join(lane.thinking)
                    lane.thinking.clear()
                    detail = lane.reasoning.signed(thinking, signature, lane.model)
                    wire += self._thought(lane, detail)
                case ContentBlockStart(block, index):
                    wire += self._start(lane, block, index)
                case InputJSONDelta(json, index) if json and lane.call is not None:
                    # The input of the provider's server tools is not sent.
                    if index == lane.call_index:
                        wire += self._deltas(lane, lane.call.more(json))
                case OpaqueDelta(raw):
                    lane.cited.delta(raw)
                case ContentBlockStop():
                    wire += self._annotated(lane)
                case MessageStart(model):
                    lane.thinking.clear()
                    self._answer(lane, model)
                    wire += self._begin(lane)
                case Finished():
                    wire += self._finish(lane, event)
                case Failed(error):
                    self.error = error
                    wire.append(WireEvent("", openai_error(error)))
        return wire

    def _answer(self, lane: "_Lane", model: str) -> None:
        """Note which model answers from here on."""
        lane.model = model
        if lane.head:
            self._prepare(lane)

    def _prepare(self, lane: "_Lane") -> None:
        text = ChunkChoice(lane.index, ChunkDelta(content=TEXT))
        lane.head, lane.tail = halves_around_text(self._chunk(text))

    def _begin(self, lane: "_Lane") -> Sequence[WireEvent]:
        if lane.head:
            return ()
        self._prepare(lane)
        opening = ChunkDelta(role="assistant", content="", refusal=None)
        return self._deltas(lane, opening)

    def _thought(self, lane: "_Lane", detail: ReasoningDetail) -> Sequence[WireEvent]:
        delta = ChunkDelta(reasoning_details=[detail])
        return [*self._begin(lane), *self._deltas(lane, delta)]

    def _start(self, lane: "_Lane", block: Block, index: int) -> Sequence[WireEvent]:
        """Encode the start of a block, and the end of the block before it."""
        before = [*self._annotated(lane), *self._complete(lane, is_whole=True)]
        lane.cited.begin_block(block)
        match block.value:
            case ToolUse() as call:
                lane.call_index = index
                begun = self._begin(lane)
                return [*before, *begun, *self._call(lane, call)]
            case RedactedThinking(data=data):
                detail = lane.reasoning.redacted(data, lane.model)
                return [*before, *self._thought(lane, detail)]
            case Thinking():
                # A block before this one may have had no signature.
                lane.thinking.clear()
            case Opaque():
                self._answer(lane, fallback_model(block) or lane.model)
                for error in tool_errors(block):
                    error.index = lane.errors
                    lane.errors += 1
                    before += self._begin(lane)
                    delta = ChunkDelta(server_tool_errors=[error])
                    before += self._deltas(lane, delta)
        return before

    def _annotated(self, lane: "_Lane") -> Sequence[WireEvent]:
        """Encode the citations of a text block that has just ended."""
        annotations = [annotation(each) for each in lane.cited.end_block()]
        for each in annotations:
            each.index = lane.annotations
            lane.annotations += 1
        delta = ChunkDelta(annotations=annotations) if annotations else None
        return self._deltas(lane, delta)

    def _call(self, lane: "_Lane", call: ToolUse) -> Sequence[WireEvent]:
        if self._call_format.is_legacy and lane.calls:
            # The legacy form has no place for a second call.
            return ()
        lane.call = StreamedCall(call, lane.calls, self._call_format)
        lane.calls += 1
        return self._deltas(lane, lane.call.first())

    def _complete(self, lane: "_Lane", *, is_whole: bool) -> Sequence[WireEvent]:
        call, lane.call = lane.call, None
        return () if call is None else self._deltas(lane, call.end(is_whole=is_whole))

    def _finish(self, lane: "_Lane", end: Finished) -> Sequence[WireEvent]:
        wire = [*self._begin(lane), *self._annotated(lane)]
        wire += self._complete(lane, is_whole=is_complete(end))
        lane.end = end
        reason = finish_reason(end, self._call_format, has_called=lane.calls > 0)
        delta = ChunkDelta(refusal=end.refusal or UNSET)
        last = ChunkChoice(lane.index, delta, finish_reason=reason, **stop_fields(end))
        wire.append(_wire(self._chunk(last)))
        if self.is_over:
            if self._include_usage:
                wire.append(_wire(self._chunk(None)))
            wire.append(DONE)
        return wire

    def _deltas(self, lane: "_Lane", delta: ChunkDelta | None) -> Sequence[WireEvent]:
        """Encode a delta, if there is one."""
        if delta is None:
            return ()
        return (_wire(self._chunk(ChunkChoice(lane.index, delta))),)

    def _chunk(self, choice: ChunkChoice | None) -> ChatCompletionChunk:
        usage: CompletionUsage | UnsetType | None = (
            None if self._include_usage else UNSET
        )
        return ChatCompletionChunk(
            id=self._meta.id,
            created=self._meta.created,
            model=(self._lanes[choice.index].model if choice else "") or self.model,
            choices=[choice] if choice else [],
            usage=usage if choice else usage_of(self.usage),
        )


class _Lane:
    """The state of one choice; ``head`` and ``tail`` are the JSON around each text."""

    def __init__(self, index: int, prefix: str) -> None:
        self.index = index
        self.restart_filter = RestartFilter()
        self.reasoning = ReasoningEncoder(prefix)
        self.model = ""
        # The pieces of the current block of thinking.
        self.thinking: list[str] = []
        self.call: StreamedCall | None = None
        self.call_index = 0
        self.cited = CitedText()
        # The numbers of annotations and errors that were sent.
        self.annotations = 0
        self.errors = 0
        self.head = b""
        self.tail = b""
        self.calls = 0
        self.end: Finished | None = None


def _wire(chunk: ChatCompletionChunk) -> WireEvent:
    return WireEvent("", encode_json(chunk))
