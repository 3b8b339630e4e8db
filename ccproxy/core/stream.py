"""The events of an answer: the Messages API's stream events, and the proxy's own.

Each message of the model begins with `MessageStart`. Its blocks follow. Each block is a
`ContentBlockStart`, deltas, and a `ContentBlockStop`. The last event of an answer is
one `Finished` or `Failed`. `UpstreamRetry` can come anywhere before it. `Restarted`
invalidates all events since the last `MessageStart`; a new `MessageStart` follows.

``index`` is the number of a block in its message, from 0.

Source: the raw stream events of anthropic-python 2.14.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

import msgspec
from attrs import asdict, field, frozen
from attrs import filters as attrs_filters
from msgspec import Raw

from ccproxy.core.blocks import Block, Opaque, RedactedThinking, ToolUse
from ccproxy.core.errors import CCProxyError


class FinishReason(Enum):
    """Why the model stopped: the reasons that all APIs distinguish."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"
    TOOL_USE = "tool_use"


_FINISH_REASONS: Mapping[str, FinishReason] = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    # The proxy continues a paused answer. This is the end after the last continuation.
    "pause_turn": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
    "tool_use": FinishReason.TOOL_USE,
}


@frozen(kw_only=True)
class Usage:
    """Token counts as the provider reports them.

    Attributes:
        input_tokens: input tokens that were neither read from nor written to the cache.
        cache_read_tokens: input tokens that were read from the cache.
        cache_write_tokens: input tokens that were written to the cache.
        output_tokens: all generated tokens, ``thinking_tokens`` included.
        details: the fields of the API's ``usage`` objects, summed over the messages;
            not compared.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    details: Mapping[str, Raw] = field(factory=dict, eq=False, repr=False)

    @property
    def counts(self) -> Mapping[str, int]:
        """The counts by attribute name."""
        return asdict(self, filter=attrs_filters.exclude("details"))

    @property
    def has_thinking_tokens(self) -> bool:
        """Whether the provider has reported ``thinking_tokens``."""
        return bool(self.thinking_tokens) or "output_tokens_details" in self.details

    @property
    def prompt_tokens(self) -> int:
        """All input tokens, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def cache_read_ratio(self) -> float | None:
        """The share of the input that was read from the cache; None: no input."""
        whole = self.prompt_tokens
        return self.cache_read_tokens / whole if whole else None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            details={
                name: _sum(self.details.get(name), other.details.get(name))
                for name in {**self.details, **other.details}
            },
        )


def _sum(one: Raw | None, other: Raw | None) -> Raw:
    """Add two JSON values: numbers, lists, and the fields of objects; None: absent."""
    if one is None or other is None:
        return one or other or Raw(b"null")
    added = _added(msgspec.json.decode(one), msgspec.json.decode(other))
    return Raw(msgspec.json.encode(added))


def _added(one: Any, other: Any) -> Any:
    match one, other:
        case (None, _) | (_, None):
            return other if one is None else one
        case dict(), dict():
            names = {**one, **other}
            return {name: _added(one.get(name), other.get(name)) for name in names}
        case list(), list():
            return [*one, *other]
        case (bool(), _) | (_, bool()):
            return other
        case (int() | float(), int() | float()):
            return one + other
    return other


@frozen
class UpstreamRetry:
    """A request to the provider failed; the CLI will send it again after a delay."""

    reason: str
    attempt: int
    delay_seconds: float


@frozen
class MessageStart:
    """``message_start``: the model begins to answer.

    Attributes:
        model: the full id of the model that answers.
        usage: the usage of the input.
        id: the provider's id of the message.
        fields: every other field of the message, such as ``container``.
    """

    model: str
    usage: Usage = Usage()
    id: str = field(default="", eq=False)
    fields: Mapping[str, Raw] = field(factory=dict, eq=False)


@frozen
class Restarted:
    """The current message is invalid, because the request is sent again.

    Attributes:
        why: the reason; may be shown to the client.
    """

    why: str = "the connection to the model was lost during the answer"


@frozen
class ContentBlockStart:
    """``content_block_start``: a block begins.

    Deltas add its content, except for redacted thinking, results of server tools and
    the like: these blocks are complete from the start. A call starts with the input
    ``{}``.
    """

    block: Block
    index: int = 0


@frozen
class TextDelta:
    """``text_delta``: a piece of the answer, never empty."""

    text: str
    index: int = 0


@frozen
class ThinkingDelta:
    """``thinking_delta``: a piece of the visible part of the model's thinking."""

    text: str
    index: int = 0


@frozen
class SignatureDelta:
    """``signature_delta``: the provider's signature of a thinking block."""

    signature: str
    index: int = 0


@frozen
class InputJSONDelta:
    """``input_json_delta``: a piece of the JSON text of a call's arguments."""

    partial_json: str
    index: int = 0


@frozen
class OpaqueDelta:
    """A delta of any other type, such as ``citations_delta``, as JSON."""

    raw: bytes
    index: int = 0


@frozen
class ContentBlockStop:
    """``content_block_stop``: the block is complete."""

    index: int = 0


@frozen
class AgentToolUsed:
    """Claude Code used a tool of its own; ``arguments`` is JSON text."""

    name: str
    arguments: str


@frozen
class Finished:
    """The answer has ended; ``stop_reason`` says whether it was cut off.

    Attributes:
        stop_reason: the API's value, which may be unknown to this proxy.
        stop_sequence: the client's stop sequence at which the model stopped.
        stop_details: the API's ``stop_details`` object, as JSON.
        cost_usd: the cost that the CLI reported; None: it reported none.
        delta_fields: every other field of ``delta`` in ``message_delta``.
        event_fields: every other field of ``message_delta``, such as
            ``context_management``.
    """

    stop_reason: str
    usage: Usage = Usage()
    stop_sequence: str | None = None
    stop_details: Raw | None = None
    cost_usd: float | None = None
    delta_fields: Mapping[str, Raw] = field(factory=dict, eq=False)
    event_fields: Mapping[str, Raw] = field(factory=dict, eq=False)

    @property
    def reason(self) -> FinishReason:
        """The `FinishReason` for ``stop_reason``; ``STOP`` for an unknown value."""
        return _FINISH_REASONS.get(self.stop_reason, FinishReason.STOP)

    @property
    def refusal(self) -> str:
        """The provider's explanation of a refusal; empty: none."""
        if self.reason is not FinishReason.REFUSAL or self.stop_details is None:
            return ""
        match msgspec.json.decode(self.stop_details):
            case {"explanation": str(words)}:
                return words
        return ""


@frozen
class Failed:
    """The answer has failed."""

    error: CCProxyError


Event: TypeAlias = (
    UpstreamRetry
    | MessageStart
    | Restarted
    | ContentBlockStart
    | TextDelta
    | ThinkingDelta
    | SignatureDelta
    | InputJSONDelta
    | OpaqueDelta
    | ContentBlockStop
    | AgentToolUsed
    | Finished
    | Failed
)

# Takes one or more events of an answer that arrived together.
Receiver: TypeAlias = Callable[[Sequence[Event]], None]


def is_token(event: Event) -> bool:
    """Whether an event counts as a token, for the time to the first token.

    Pieces of text, thinking and arguments count. The start of a call, or of a block
    without deltas, counts too.
    """
    match event:
        case TextDelta() | ThinkingDelta() | InputJSONDelta() | OpaqueDelta():
            return True
        case ContentBlockStart(block):
            return isinstance(block.value, ToolUse | RedactedThinking | Opaque)
    return False
