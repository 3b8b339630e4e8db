"""The values of a request of native mode, which the CLI gets turn by turn. Pure.

They are the part of the Messages API that the CLI accepts as input: blocks without
cache breakpoints or unknown fields, and alternating turns.
`ccproxy.claude.native.suspension` compares two requests by these values.

Invariants of ``Prompt.messages``: not empty; roles alternate; no text is blank; the
last turn is the user's; calls and their results stand in neighbouring turns.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, TypeAlias

from attrs import field, frozen

from ccproxy.core.blocks import is_blank


class Role(Enum):
    """The author of a turn."""

    USER = "user"
    ASSISTANT = "assistant"


class Effort(Enum):
    """The CLI's ``effortLevel``."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


@frozen
class TextBlock:
    """A block of text."""

    text: str


@frozen
class ImageBlock:
    """An image: base64 with a media type, or an https URL without one."""

    media_type: str | None
    source: str


@frozen
class DocumentBlock:
    """A PDF in base64, a plain text, or an https URL without a media type.

    Attributes:
        context: a further text about the document for the model.
    """

    media_type: str | None
    source: str
    title: str | None = None
    context: str | None = None


@frozen
class ToolUseBlock:
    """A call of a tool, with the model's id."""

    id: str
    name: str
    input: Mapping[str, Any]


@frozen
class ToolResultBlock:
    """The result of a call."""

    tool_use_id: str
    content: "str | tuple[TextBlock | ImageBlock | DocumentBlock, ...]"
    is_error: bool = False


@frozen
class ThinkingBlock:
    """Thinking of the model, with the provider's signature.

    Attributes:
        model: the full id of the model that made the thinking; the CLI sends the
            thinking to no other model.
    """

    thinking: str
    signature: str
    model: str = ""


@frozen
class RedactedThinkingBlock:
    """Thinking that only the provider can read."""

    data: str
    model: str = ""


Block: TypeAlias = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | ToolUseBlock
    | ToolResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
)


@frozen
class PromptTool:
    """A tool of the client; ``input_schema`` is the JSON Schema of an object."""

    name: str
    description: str | None
    input_schema: Mapping[str, Any]


@frozen
class PromptMessage:
    """One turn of the conversation."""

    role: Role
    content: tuple[Block, ...]


@frozen(kw_only=True)
class Prompt:
    """One request: everything on which the answer depends.

    Attributes:
        model: an alias or full id that the CLI takes.
        system: the whole system prompt; empty for none.
        messages: see the module's invariants.
        max_tokens: the limit of the answer, thinking included; None: the model's limit.
        stop: the sequences at which the answer ends; the answer does not contain them.
        blank_stops: stop sequences of white space. The provider refuses them, so the
            proxy applies them.
        effort: the effort; None: the model's default.
        tools: the client's tools that the model may call.
        must_call: whether the answer has to be a call of one of ``tools``.
        parallel_calls: whether the answer may have several calls.
        schema: a JSON Schema of type object for the answer's text; None: any text. The
            model may call ``tools`` before it answers.
        sampling: ``temperature``, ``top_p`` and ``top_k``, if the operator allows them.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    system: str = ""
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    blank_stops: tuple[str, ...] = ()
    effort: Effort | None = None
    tools: tuple[PromptTool, ...] = ()
    must_call: bool = False
    parallel_calls: bool = True
    schema: Mapping[str, Any] | None = None
    sampling: Mapping[str, float] = field(factory=dict)


@frozen(kw_only=True)
class NativeQuestion:
    """A request that is translated for native mode.

    Attributes:
        prompt: the request as it is sent to the CLI.
        adjusted: the client's paths of fields that are sent in another form.
        ignored: the client's paths of fields that are not sent.
        prefix: the hash of everything before the answer; unknown in native mode.
        thinks_by_name: whether the model's name asks for thinking.
        conversation: the id of the conversation, for the usage ledger.
    """

    prompt: Prompt
    adjusted: tuple[str, ...]
    ignored: tuple[str, ...]
    prefix: str = ""
    thinks_by_name: bool = False
    conversation: str = ""

    @property
    def model(self) -> str:
        """The model's name for the CLI."""
        return self.prompt.model

    @property
    def effort(self) -> str | None:
        """The effort that is sent; None: the model's default."""
        return None if self.prompt.effort is None else self.prompt.effort.value


def _is_blank_block(block: Block) -> bool:
    return isinstance(block, TextBlock) and is_blank(block.text)


def turns(messages: Iterable[PromptMessage]) -> tuple[PromptMessage, ...]:
    """Join consecutive messages of one role; leave out blank blocks and empty turns.

    If such messages were sent one by one, the CLI would join them with newlines.
    """
    joined: list[tuple[Role, list[Block]]] = []
    for message in messages:
        content = [block for block in message.content if not _is_blank_block(block)]
        if not content:
            continue
        if joined and joined[-1][0] is message.role:
            joined[-1][1].extend(content)
        else:
            joined.append((message.role, content))
    return tuple(PromptMessage(role, tuple(content)) for role, content in joined)
