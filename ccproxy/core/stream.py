"""An answer as it comes: the Messages API's stream events, and what happens to them.

Order: per message of the model a `MessageStart`, then blocks (`ContentBlockStart`,
deltas, `ContentBlockStop`); last of all exactly one `Finished` or `Failed`.
`UpstreamRetry` may come anywhere before that. `Restarted` says that everything since
the last `MessageStart` is void; a new `MessageStart` follows.

``index`` is the block's number in its message, as the API counts.

Source: the raw stream events of anthropic-python 2.14.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from attrs import asdict, field, frozen
from attrs import filters as attrs_filters
from msgspec import Raw

from ccproxy.core.errors import CCProxyError
from ccproxy.core.messages import Block, Opaque, RedactedThinking, ToolUse


class FinishReason(Enum):
    """Why the model stopped, as far as the APIs tell reasons apart."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"
    TOOL_USE = "tool_use"


_FINISH_REASONS: Mapping[str, FinishReason] = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
    "tool_use": FinishReason.TOOL_USE,
}


@frozen(kw_only=True)
class Usage:
    """Tokens as the provider reports them; the four counts do not overlap.

    Attributes:
        input_tokens: read anew, neither from the cache nor into it.
        output_tokens: everything generated, ``thinking_tokens`` included.
        details: every field of the API's ``usage``, as it was last told; not compared.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    details: Mapping[str, Raw] = field(factory=dict, eq=False, repr=False)

    @property
    def counts(self) -> Mapping[str, int]:
        """The numbers by their names here."""
        return asdict(self, filter=attrs_filters.exclude("details"))

    @property
    def prompt_tokens(self) -> int:
        """Input as a client understands it: all of it, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            details={**self.details, **other.details},
        )


@frozen
class UpstreamRetry:
    """The provider refused, or was lost; the CLI will ask again by itself."""

    reason: str
    attempt: int
    delay_seconds: float


@frozen
class MessageStart:
    """``message_start``: the model begins to answer.

    Attributes:
        model: the full id of the model that answers.
        usage: what the message has cost by then: the input, as a rule.
        id: the provider's id of the message.
    """

    model: str
    usage: Usage = Usage()
    id: str = field(default="", eq=False)


@frozen
class Restarted:
    """The message so far is void: it is asked for again.

    Attributes:
        why: in words that a client may be shown.
    """

    why: str = "the connection to the model was lost in mid-answer"


@frozen
class ContentBlockStart:
    """``content_block_start``: a block begins; what is in it comes as deltas.

    A redacted thinking, a server tool's result and the like are whole at once.
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
    """``thinking_delta``: a piece of the model's thinking, as far as it is shown."""

    text: str
    index: int = 0


@frozen
class SignatureDelta:
    """``signature_delta``: the provider's signature ends a block of thinking."""

    signature: str
    index: int = 0


@frozen
class InputJSONDelta:
    """``input_json_delta``: a piece of the JSON text of a call's arguments."""

    partial_json: str
    index: int = 0


@frozen
class OpaqueDelta:
    """A delta of any other type, such as ``citations_delta``: its JSON."""

    raw: bytes
    index: int = 0


@frozen
class ContentBlockStop:
    """``content_block_stop``: the block is whole."""

    index: int = 0


@frozen
class AgentToolUsed:
    """Claude Code has used a tool of its own; ``arguments`` is the JSON text."""

    name: str
    arguments: str


@frozen
class Finished:
    """The answer is over, and whole up to what ``stop_reason`` says.

    Attributes:
        stop_reason: the API's word, which may be one that we do not know.
        stop_sequence: which of the client's sequences the model stopped at.
        stop_details: what the API says besides, as JSON.
        cost_usd: what the CLI says it cost; None: it has not said so.
    """

    stop_reason: str
    usage: Usage = Usage()
    stop_sequence: str | None = None
    stop_details: Raw | None = None
    cost_usd: float | None = None

    @property
    def reason(self) -> FinishReason:
        """Why, as far as all APIs tell reasons apart."""
        return _FINISH_REASONS.get(self.stop_reason, FinishReason.STOP)


@frozen
class Failed:
    """The answer is over without being whole."""

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


def is_token(event: Event) -> bool:
    """Whether the model has said something: the definition of the first token.

    A piece of text, thinking or arguments counts, and so does the start of a block
    that is a call or is whole at once.
    """
    match event:
        case TextDelta() | ThinkingDelta() | InputJSONDelta() | OpaqueDelta():
            return True
        case ContentBlockStart(block):
            return isinstance(block.value, ToolUse | RedactedThinking | Opaque)
    return False
