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

``message_stop`` and a ``message_delta`` without reason end nothing: so the CLI
closes an answer that its upstream cut, before it asks again. A reason after
which the CLI would go on by itself (``max_tokens``, ``refusal``, ``tool_use`` of a
client's tool) ends the turn here; its process must then be stopped before it does.

Source: protocol notes, "What ends an answer, as seen".
"""

from collections.abc import Mapping
from enum import Enum, auto

from ccproxy.claude.failures import Refusal, error_for
from ccproxy.claude.records import (
    ApiRetry,
    AssistantMessage,
    ContentBlock,
    MessageBody,
    RateLimitEvent,
    Record,
    Result,
    SSEEvent,
    StreamEvent,
    UserMessage,
)
from ccproxy.errors import CCProxyError, ClaudeFailed, InvalidRequest
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStarted,
    RedactedThinking,
    Restarted,
    TextDelta,
    ThinkingDelta,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Waiting,
)

_SYNTHETIC = "<synthetic>"

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


class Turn:
    """The state of one answer.

    Args:
        wall_seconds: Unix time at the start, to tell how long a limit lasts.
        tool_names: the client's tools; a call of any other is the CLI's own affair.
    """

    def __init__(
        self, wall_seconds: float, tool_names: frozenset[str] = frozenset()
    ) -> None:
        self._wall_seconds = wall_seconds
        self._tool_names = tool_names
        self._is_calling = False
        self._has_called = False
        self._phase = _Phase.WAITING
        self._message_id: str | None = None
        self._streamed_id: str | None = None
        self._stop_reason: str | None = None
        self._message_usage = Usage()
        self._earlier_usage = Usage()
        self._restarted = False
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
        return self._cut_short

    def timed_out(self, otherwise: CCProxyError) -> CCProxyError:
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
            case Result():
                return self._result(record)
            case _:
                return []

    def _streamed(self, event: SSEEvent) -> list[Event]:
        if event.type == "content_block_delta" and event.delta is not None:
            if event.delta.text:
                return [TextDelta(event.delta.text)]
            if event.delta.thinking:
                return [ThinkingDelta(event.delta.thinking)]
            if event.delta.signature:
                return [ThinkingSigned(event.delta.signature)]
            if event.delta.partial_json and self._is_calling:
                return [ToolCallDelta(event.delta.partial_json)]
        elif event.type == "content_block_start" and event.content_block is not None:
            return self._block_started(event.content_block)
        elif event.type == "message_start" and event.message is not None:
            self._streamed_id = event.message.id
            return self._begin(event.message, _Phase.STREAMING)
        elif event.type == "message_delta" and event.delta is not None:
            if event.usage is not None:
                self._message_usage = event.usage.over(self._message_usage)
            if event.delta.stop_reason is not None:
                return self._stopped(event.delta.stop_reason)
        return []

    def _block_started(self, block: ContentBlock) -> list[Event]:
        if block.type == "redacted_thinking" and block.data:
            self._is_calling = False
            return [RedactedThinking(block.data)]
        return self._call(block)

    def _call(self, block: ContentBlock) -> list[Event]:
        name = block.name or ""
        self._is_calling = block.type == "tool_use" and name in self._tool_names
        if not self._is_calling:
            return []
        self._has_called = True
        return [ToolCallStarted(block.id or "", name)]

    def _begin(self, message: MessageBody, phase: _Phase) -> list[Event]:
        events: list[Event] = []
        if self._phase is _Phase.STREAMING:
            self._restarted = True
            events.append(Restarted())
        else:
            self._earlier_usage += self._message_usage
        self._phase = phase
        self._is_calling = self._has_called = False
        self._retry = None
        self._message_id = message.id
        self._message_usage = Usage()
        if message.usage is not None:
            self._message_usage = message.usage.over(Usage())
        return [*events, MessageStarted(message.model)]

    def _stopped(self, stop_reason: str) -> list[Event]:
        self._phase = _Phase.WHOLE
        self._stop_reason = stop_reason
        reason = _FINISH_REASONS.get(stop_reason)
        if stop_reason == "tool_use" and self._has_called:
            reason = FinishReason.TOOL_USE
        self._cut_short = reason in _CUT_SHORT
        return self._finish(reason, None) if self._cut_short else []

    def _assistant(self, record: AssistantMessage) -> list[Event]:
        message = record.message
        if message.model == _SYNTHETIC:
            self._synthetic = record
            return []
        if message.id == self._streamed_id:
            return []
        events: list[Event] = []
        if message.id != self._message_id:
            events += self._begin(message, _Phase.WHOLE)
        for block in message.content:
            if block.text:
                events.append(TextDelta(block.text))
            elif block.type == "thinking":
                events += _thinking(block)
            else:
                events += self._block_started(block)
                if self._is_calling:
                    events.append(ToolCallDelta(bytes(block.input).decode()))
        if message.stop_reason is not None:
            events += self._stopped(message.stop_reason)
        return events

    def _refused(self, record: ApiRetry) -> list[Event]:
        delay_seconds = record.retry_delay_ms / 1000
        self._retry = Refusal(
            kind=record.error,
            status=record.error_status,
            text=_retry_text(record),
            retry_after_seconds=delay_seconds,
            used_up=self._limit_reset_seconds is not None,
        )
        if self._retry.is_about_login and record.attempt >= _LOGIN_ATTEMPTS:
            return self._fail(error_for(self._retry))
        return [Waiting(record.error or "unknown", record.attempt, delay_seconds)]

    def _result(self, result: Result) -> list[Event]:
        if result.is_error or result.subtype != "success":
            return self._fail(self._error(result))
        if self._phase is _Phase.WAITING:
            # The CLI answered by itself, so the model was never asked.
            said = result.result or "nothing"
            return self._fail(InvalidRequest(f"the CLI did not ask the model: {said}"))
        if self._phase is _Phase.STREAMING:
            return self._fail(ClaudeFailed("the answer broke off and was not resumed"))
        reason = _FINISH_REASONS.get(result.stop_reason or self._stop_reason or "")
        return self._finish(reason, result)

    def _error(self, result: Result) -> CCProxyError:
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
        usage = self._earlier_usage + self._message_usage
        # The CLI's sum also counts calls whose answers were void.
        if result is not None and result.usage is not None and not self._restarted:
            usage = result.usage.over(usage)
        return [Finished(reason or FinishReason.STOP, usage)]

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


def _retry_text(record: ApiRetry) -> str:
    what = record.error_status or record.error or "no answer"
    return f"the model's provider refused the request ({what})"
