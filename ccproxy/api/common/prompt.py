"""Translates a conversation of OpenAI's APIs to the Messages API. Pure.

Chat completions and Responses have different fields, but the same conversations:
messages with a role, whose content is a string or a list of texts, images and files.

=====================  ===========================================================
system, developer      at the beginning: the system prompt; later: a message
user                   a message; a string stays a string
assistant              a message: thinking, text, calls
tool                   results, at the beginning of the user's next message
a blank text           left out; its path is reported
=====================  ===========================================================
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from ccproxy.api.common.content import (
    ASSISTANT,
    SYSTEM,
    TOOL,
    USER,
    ContentPart,
    content_blocks,
)
from ccproxy.api.common.decoding import Adjustments
from ccproxy.api.common.pairing import NO_ID, paired
from ccproxy.core.blocks import Block, is_blank, tool_result_block
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Message

_ROLES: Mapping[str, str] = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "user": USER,
    "assistant": ASSISTANT,
    "tool": TOOL,
}
# OpenAI's efforts that the Messages API lacks.
_NO_EFFORTS = ("none", "minimal")
# All efforts that a client may ask for.
_EFFORTS = (*_NO_EFFORTS, "low", "medium", "high", "xhigh", "max")
# What is sent for the efforts that the Messages API lacks.
_LEAST_EFFORT = "low"


@frozen
class PastThinking:
    """A block of thinking that the client sends back.

    Attributes:
        model: the full id of the model that made it; empty: unknown.
        prefix: the hash of the conversation before it when it was made; empty:
            unknown.
    """

    block: Block
    model: str = ""
    prefix: str = ""

    @property
    def key(self) -> str:
        """The block's signature or data, which no other block has."""
        return thinking_key(self.block)


def thinking_key(block: Block) -> str:
    """The key of a block of thinking in ``MessagesRequest.thinking_models``."""
    value = block.value
    return getattr(value, "signature", "") or getattr(value, "data", "")


@frozen
class InputMessage:
    """One message of the client's conversation.

    Attributes:
        at: the message's path in the request.
        calls: calls of the assistant.
        thinking: thinking of the assistant, which stands before the content.
        result_of: in a message of role ``tool``, the id of the call that it answers,
            or `NO_ID`.
        is_error: in such a message, whether the call failed.
        field: the name of the content in the request; empty: the message itself is the
            content.
        unfinished: the paths of calls that were cut off.
    """

    at: str
    role: str
    content: str | list[ContentPart] | None
    calls: tuple[Block, ...] = ()
    thinking: tuple[PastThinking, ...] = ()
    result_of: str | None = None
    is_error: bool = False
    field: str = "content"
    unfinished: tuple[str, ...] = ()

    @property
    def content_at(self) -> str:
        """The path of the content."""
        return f"{self.at}.{self.field}" if self.field else self.at


@frozen(kw_only=True)
class DecodedPrompt:
    """The conversation in the terms of the Messages API.

    Attributes:
        system: the system prompt; empty: none.
        thinking_models: as in `MessagesRequest`.
        thinking_prefixes: as in `MessagesRequest`.
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
    """Translate a conversation.

    Args:
        given: all messages, with those of the roles system and developer.
        param: the field that they came in.
        adjustments: receive the paths of what is left out or changed.
        first: the beginning of the system prompt.

    Raises:
        InvalidRequest: there is nothing to answer, a role is unknown, or calls and
            results do not match.
        UnsupportedValue: content that the Messages API has no block for.
    """
    for message in given:
        _check_role(message)
    given = _with_user_message(given, adjustments)
    instructions: list[str] = [first]
    messages: list[Message] = []
    for message in given:
        # The API has no system message before the first message.
        if not messages and _ROLES[message.role] == SYSTEM:
            instructions.append(_system_text(message, adjustments))
        elif (made := _message(message, adjustments)) is not None:
            messages.append(made)
    _refuse_without_user_message(given, messages, param)
    unfinished = {path for message in given for path in message.unfinished}
    thoughts = [thinking for message in given for thinking in message.thinking]
    return DecodedPrompt(
        system="\n\n".join(text for text in instructions if not is_blank(text)),
        messages=paired(messages, param, adjustments, unfinished),
        thinking_models={t.key: t.model for t in thoughts if t.model},
        thinking_prefixes={t.key: t.prefix for t in thoughts if t.prefix},
    )


def _check_role(message: InputMessage) -> None:
    if message.role not in _ROLES:
        raise InvalidRequest(
            f"`{message.at}.role`: {message.role!r} is not a role; the roles are "
            "system, developer, user, assistant and tool",
            param=f"{message.at}.role",
        )


def _with_user_message(
    given: Sequence[InputMessage], adjustments: Adjustments
) -> Sequence[InputMessage]:
    """The messages; if all are instructions, the last becomes the user's message.

    The API requires a message of the user.
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
    """The message of the Messages API; None: the client's message is blank."""
    match _ROLES[message.role]:
        case "tool":
            return Message(USER, (_result(message, adjustments),), message.at)
        case role:
            content = _content(message, role, adjustments)
            return Message(role, content, message.at) if content else None


def _refuse_without_user_message(
    given: Sequence[InputMessage], messages: Sequence[Message], param: str
) -> None:
    asking = [m for m in given if _ROLES[m.role] in (USER, TOOL)]
    if not asking:
        if messages:
            # The model decides whether the assistant's last message is continued. A
            # system message after the assistant's becomes the user's.
            return
        raise InvalidRequest(
            f"`{param}` has no message of the user; there is nothing to answer",
            param=param,
        )
    last = asking[-1]
    user_paths = [message.at for message in messages if message.role == USER]
    if not user_paths or (last is given[-1] and user_paths[-1] != last.at):
        raise InvalidRequest(
            f"`{last.at}`: the last message of the user is blank; add text to it",
            param=f"{last.at}.content",
        )


def _content(
    message: InputMessage, role: str, adjustments: Adjustments
) -> str | tuple[Block, ...]:
    """The content of a message other than a call's result."""
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
    """The block of a call's result; a blank text becomes an empty text."""
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
    """The text of a message that becomes a part of the system prompt."""
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
        InvalidRequest: it is less than 1.
    """
    if value is not None and value < 1:
        raise InvalidRequest(f"`{param}` must be at least 1", param=param)
    return value


def stops(named: Mapping[str, str], adjustments: Adjustments) -> tuple[str, ...]:
    """The stop sequences, without empty ones, which would end every answer at once.

    Args:
        named: the sequences, by their paths.
        adjustments: receive the paths of what is left out.
    """
    adjustments.ignore(*(path for path, text in named.items() if not text))
    return tuple(text for text in named.values() if text)


def effort(name: str | None, param: str, adjustments: Adjustments) -> str | None:
    """The effort of the Messages API for an effort of OpenAI's.

    Args:
        name: the client's effort.
        param: its path.
        adjustments: receive the path if the Messages API lacks the effort.

    Raises:
        InvalidRequest: the effort is unknown.
    """
    if name is None:
        return None
    if name not in _EFFORTS:
        raise InvalidRequest(
            f"`{param}`: {name!r} must be one of: {', '.join(_EFFORTS)}", param=param
        )
    if name in _NO_EFFORTS:
        adjustments.adjust(param)
        return _LEAST_EFFORT
    return name
