"""What a turn yields: the neutral form of an answer as it comes.

Order: per message of the model a ``MessageStarted`` and deltas; last exactly one
``Finished`` or ``Failed``. ``Waiting`` may come anywhere before that.
``Restarted`` says that everything since the last ``MessageStarted`` is void,
because the upstream cut the answer, or it did not satisfy its schema, and the CLI asks
again; a new ``MessageStarted`` follows.
"""

from typing import TypeAlias

from attrs import field, frozen

from ccproxy.core.errors import CCProxyError
from ccproxy.core.stream import FinishReason, Usage


@frozen
class Waiting:
    """The CLI was refused upstream and will try again by itself."""

    reason: str
    attempt: int
    delay_seconds: float


@frozen
class MessageStarted:
    """The model begins to answer.

    Attributes:
        model: the full id of who does.
        usage: what the message has cost by then: the input, as a rule.
    """

    model: str
    usage: Usage = field(factory=Usage)


@frozen
class Restarted:
    """The message so far is void: it is asked for again.

    Attributes:
        why: in words that a client may be shown.
    """

    why: str = "the connection to the model was lost in mid-answer"


@frozen
class TextDelta:
    """A piece of the answer, never empty."""

    text: str


@frozen
class ThinkingDelta:
    """A piece of the model's thinking, as far as it is shown."""

    text: str


@frozen
class ThinkingSigned:
    """The end of a block of thinking, by its provider's signature.

    It belongs to the `ThinkingDelta`s before it; without any, nothing is shown.
    """

    signature: str


@frozen
class RedactedThinking:
    """A whole block of thinking that only its provider can read."""

    data: str


@frozen
class ToolCallStarted:
    """The model begins to call a tool of the client's; ``id`` is its own."""

    id: str
    name: str


@frozen
class ToolCallDelta:
    """A piece of the JSON text of the arguments of the call begun last."""

    json: str


@frozen
class AgentToolUsed:
    """Claude Code has used a tool of its own; ``arguments`` is the JSON text."""

    name: str
    arguments: str


@frozen
class Finished:
    """The turn is over and the answer whole, up to what ``reason`` says.

    Attributes:
        stop_sequence: which one the model stopped at, of the client's.
        cost_usd: what the CLI says it cost; None: it has not said so yet. Where an
            answer was cut short it never does, and that of a call comes with the
            answer to its results.
    """

    reason: FinishReason
    usage: Usage
    stop_sequence: str | None = None
    cost_usd: float | None = None


@frozen
class Failed:
    """The turn is over without a whole answer."""

    error: CCProxyError


Event: TypeAlias = (
    Waiting
    | MessageStarted
    | Restarted
    | TextDelta
    | ThinkingDelta
    | ThinkingSigned
    | RedactedThinking
    | ToolCallStarted
    | ToolCallDelta
    | AgentToolUsed
    | Finished
    | Failed
)
