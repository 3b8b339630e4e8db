"""What the dialects have in common when they build a request to the model. Pure.

They differ in the names of fields, and agree on what a conversation is: messages
with a role, whose content is a string or parts: text, images, files.

=====================  ===========================================================
system, developer      in front: the system prompt; later on: a message
user                   a message; a string stays a string
assistant              a message: thinking, text, calls
tool                   results, in front of the next message of the user
a blank text           left out and named
=====================  ===========================================================
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from ccproxy.api.common.adjustments import Adjustments
from ccproxy.api.common.content import (
    ASSISTANT,
    SYSTEM,
    TOOL,
    USER,
    ContentPart,
    content_blocks,
)
from ccproxy.api.common.pairing import NO_ID, paired
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Block, Message, is_blank, tool_result_block

_ROLES: Mapping[str, str] = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "assistant": ASSISTANT,
    "tool": TOOL,
}
# OpenAI's efforts that the model does not know, and the nearest that it does.
_NO_EFFORTS = ("none", "minimal")
_EFFORTS = (*_NO_EFFORTS, "low", "medium", "high", "xhigh", "max")
_LEAST_EFFORT = "low"


@frozen
class PastThinking:
    """What the assistant has thought, as a block.

    Attributes:
        model: the full id of the model that has thought it; empty: unknown.
        prefix: the hash of what stood before it when it was made; empty: unknown.
    """

    block: Block
    model: str = ""
    prefix: str = ""

    @property
    def key(self) -> str:
        """What tells it from all other thinking: its signature, or its data."""
        return thinking_key(self.block)


def thinking_key(block: Block) -> str:
    """The key of a block of thinking in ``MessagesRequest.thinking_models``."""
    value = block.value
    return getattr(value, "signature", "") or getattr(value, "data", "")


@frozen
class InputMessage:
    """One message, as either dialect has it.

    Attributes:
        at: its path in the request, for error messages.
        calls: what the assistant called in it.
        thinking: what it thought before it said so.
        result_of: the id of the call whose result this is; `NO_ID` for one without.
        is_error: whether that is a failure.
        field: what the request calls the content.
    """

    at: str
    role: str
    content: str | list[ContentPart] | None
    calls: tuple[Block, ...] = ()
    thinking: tuple[PastThinking, ...] = ()
    result_of: str | None = None
    is_error: bool = False
    field: str = "content"

    @property
    def content_at(self) -> str:
        """The path of the content."""
        return f"{self.at}.{self.field}" if self.field else self.at


@frozen(kw_only=True)
class DecodedPrompt:
    """What a request says.

    Attributes:
        system: the system prompt; empty for none.
        thinking_models: who has thought what is given back, by `thinking_key`.
        thinking_prefixes: the hash of what stood before it then, likewise.
    """

    system: str
    messages: tuple[Message, ...]
    thinking_models: Mapping[str, str] = field(factory=dict)
    thinking_prefixes: Mapping[str, str] = field(factory=dict)


def conversation(
    given: Sequence[InputMessage],
    param: str,
    adjustments: Adjustments,
    *,
    first: str = "",
) -> DecodedPrompt:
    """The conversation that messages are.

    Args:
        given: all messages, system and developer ones too.
        param: the field that holds them.
        adjustments: what is left out or changed is noted there.
        first: how the system prompt begins.

    Raises:
        InvalidRequest: there is nothing to answer, an unknown role, or calls and
            results that do not belong together.
        UnsupportedValue: content that the model cannot be shown.
    """
    for message in given:
        _check_role(message)
    given = _with_question(given, adjustments)
    instructions: list[str] = [first]
    messages: list[Message] = []
    for message in given:
        # In front of all that is said, blank or not, the API knows no system message.
        if not messages and _ROLES[message.role] == SYSTEM:
            instructions.append(_system_text(message, adjustments))
        elif (made := _message(message, adjustments)) is not None:
            messages.append(made)
    _refuse_without_question(given, messages, param)
    thoughts = [thinking for message in given for thinking in message.thinking]
    return DecodedPrompt(
        system="\n\n".join(text for text in instructions if not is_blank(text)),
        messages=paired(messages, param, adjustments),
        thinking_models={t.key: t.model for t in thoughts if t.model},
        thinking_prefixes={t.key: t.prefix for t in thoughts if t.prefix},
    )


def _check_role(message: InputMessage) -> None:
    if message.role not in _ROLES:
        raise InvalidRequest(
            f"`{message.at}.role`: {message.role!r} is no role; there are system, "
            "developer, user, assistant and tool",
            param=f"{message.at}.role",
        )


def _with_question(
    given: Sequence[InputMessage], adjustments: Adjustments
) -> Sequence[InputMessage]:
    """The messages; of instructions alone the last ones are what the user asks.

    A model cannot be asked without a message of the user.
    """
    if any(_ROLES[message.role] != SYSTEM for message in given):
        return given
    for place in reversed(range(len(given))):
        message = given[place]
        if not is_blank(_system_text(message, Adjustments())):
            adjustments.adjust(f"{message.at}.role")
            return [*given[:place], evolve(message, role=USER), *given[place + 1 :]]
    return given


def _message(message: InputMessage, adjustments: Adjustments) -> Message | None:
    """The message as the Messages API has it; None: there is nothing in it."""
    match _ROLES[message.role]:
        case "tool":
            return Message(USER, (_result(message, adjustments),), message.at)
        case role:
            content = _content(message, role, adjustments)
            return Message(role, content, message.at) if content else None


def _refuse_without_question(
    given: Sequence[InputMessage], messages: Sequence[Message], param: str
) -> None:
    asking = [m for m in given if _ROLES[m.role] in (USER, TOOL)]
    if not asking:
        raise InvalidRequest(
            f"`{param}` has no message of the user; there is nothing to answer",
            param=param,
        )
    last = asking[-1]
    told = [message.at for message in messages if message.role == USER]
    if not told or (last is given[-1] and told[-1] != last.at):
        raise InvalidRequest(
            f"`{last.at}`: the last message is blank; say something in it",
            param=f"{last.at}.content",
        )


def _content(
    message: InputMessage, role: str, adjustments: Adjustments
) -> str | tuple[Block, ...]:
    """The content of a message that has no result in it; empty: nothing."""
    is_bare = not message.thinking and not message.calls
    if isinstance(message.content, str) and is_bare:
        if is_blank(message.content):
            adjustments.ignore(message.content_at)
            return ""
        return message.content
    return (
        *(thinking.block for thinking in message.thinking),
        *content_blocks(message.content, role, message.content_at, adjustments),
        *message.calls,
    )


def _result(message: InputMessage, adjustments: Adjustments) -> Block:
    """The result of a call; a text stays one, and a blank one is an empty one."""
    content: str | Sequence[Block]
    if isinstance(message.content, str):
        content = message.content
        if content and is_blank(content):
            adjustments.ignore(message.content_at)
            content = ""
    else:
        content = (
            content_blocks(message.content, TOOL, message.content_at, adjustments) or ""
        )
    return tool_result_block(
        NO_ID if message.result_of is None else message.result_of,
        content,
        is_error=message.is_error,
        at=message.at,
    )


def _system_text(message: InputMessage, adjustments: Adjustments) -> str:
    """The text of a message in front: its parts are one text of the system prompt."""
    texts: list[str] = []
    for block in content_blocks(
        message.content, SYSTEM, message.content_at, adjustments
    ):
        texts.append(getattr(block.value, "text", ""))
        if "cache_control" in block.fields:
            adjustments.ignore(f"{block.at}.cache_control")
    return "".join(texts)


def positive(value: int | None, param: str) -> int | None:
    """Check a limit.

    Raises:
        InvalidRequest: it is less than one.
    """
    if value is not None and value < 1:
        raise InvalidRequest(f"`{param}` must be at least 1", param=param)
    return value


def stops(named: Mapping[str, str], adjustments: Adjustments) -> tuple[str, ...]:
    """The sequences at which the answer ends.

    An empty one would end every answer before it begins: it is left out. Whether the
    model can stop at white space is not known here.

    Args:
        named: each by its path.
        adjustments: what is left out is noted there.
    """
    adjustments.ignore(*(path for path, text in named.items() if not text))
    return tuple(text for text in named.values() if text)


def effort(name: str | None, param: str, adjustments: Adjustments) -> str | None:
    """How hard to think, by OpenAI's names.

    Args:
        name: the client's.
        param: its path.
        adjustments: it is noted there that the model always thinks a little.

    Raises:
        InvalidRequest: there is no such effort; lists them.
    """
    if name is None:
        return None
    if name not in _EFFORTS:
        raise InvalidRequest(
            f"`{param}`: {name!r} is none of {', '.join(_EFFORTS)}", param=param
        )
    if name in _NO_EFFORTS:
        adjustments.adjust(param)
        return _LEAST_EFFORT
    return name
