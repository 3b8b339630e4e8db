"""Translates a conversation of OpenAI's APIs to the Messages API. Pure.

The decoders of chat completions and of Responses make `InputMessage` objects of
different fields. By its role, a message becomes:

=====================  ===========================================================
system, developer      a part of the system prompt if it is before all other
                       messages, or else a message
user                   a message of the user
assistant              a message of the assistant: thinking, then text, then calls
tool                   a tool result in the user's next message
=====================  ===========================================================

Blank text is left out, and its path is reported.
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
from ccproxy.api.common.pairing import NO_ID, paired, without_unfinished
from ccproxy.api.common.repair import repaired
from ccproxy.core.blocks import Block, is_blank, tool_result_block
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Adjustments, Message

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
# The effort that is sent instead of those that the Messages API lacks.
_LEAST_EFFORT = "low"
# The proxy looks for stop sequences of white space in each piece of the answer. Its
# work grows with their number, and with the square of their length.
_MOST_BLANK_STOPS, _LONGEST_BLANK_STOP = 32, 100


@frozen
class PastThinking:
    """A block of thinking in the history.

    Attributes:
        model: the full id of the model that made the block; empty: unknown.
        prefix: the hash of the conversation before the block when the block was made;
            empty: unknown.
    """

    block: Block
    model: str = ""
    prefix: str = ""

    @property
    def key(self) -> str:
        """The block's signature or data, which identifies the block."""
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
        calls: the calls of a message of the assistant.
        thinking: the thinking before the content of a message of the assistant.
        result_of: in a tool result, the id of its call; None or `NO_ID`: no id.
        is_error: in a tool result, whether the call failed.
        field: the name of the field with the content; empty: the message itself is the
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
    """A conversation that was translated to the Messages API.

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
    repairs: bool = False,
) -> DecodedPrompt:
    """Translate a conversation.

    Args:
        given: all messages of the request.
        param: the request's field with the messages.
        adjustments: records the paths of everything that is omitted or changed.
        first: the beginning of the system prompt.
        repairs: whether calls and results that do not match are repaired.

    Raises:
        InvalidRequest: there is no message to answer, a role is unknown, or calls and
            results do not match.
        UnsupportedValue: the Messages API has no block for some content.
    """
    for message in given:
        _check_role(message)
    given = _with_user_message(given, adjustments)
    instructions: list[str] = [first]
    messages: list[Message] = []
    for message in given:
        # The API does not accept a system message as the first message.
        if not messages and _ROLES[message.role] == SYSTEM:
            instructions.append(_system_text(message, adjustments))
        elif (made := _message(message, adjustments)) is not None:
            messages.append(made)
    _refuse_without_user_message(given, messages, param)
    unfinished = {path for message in given for path in message.unfinished}
    if repairs:
        messages = [
            *repaired(
                without_unfinished(messages, unfinished, adjustments), adjustments
            )
        ]
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
    """If all messages are instructions, make the last one a message of the user.

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
    """Translate one message; None: its content is blank."""
    match _ROLES[message.role]:
        case "tool":
            return Message(USER, (_result(message, adjustments),), message.at)
        case role:
            content = _content(message, role, adjustments)
            # Some clients keep an empty answer as a message without content.
            is_absent = message.content is None and role != ASSISTANT
            if not content and (is_absent or message.content == []):
                adjustments.ignore(message.content_at)
            return Message(role, content, message.at) if content else None


def _refuse_without_user_message(
    given: Sequence[InputMessage], messages: Sequence[Message], param: str
) -> None:
    asking = [m for m in given if _ROLES[m.role] in (USER, TOOL)]
    if not asking:
        if messages:
            # It depends on the model whether it continues the assistant's last message.
            # A system message after the assistant's becomes a message of the user.
            return
        raise InvalidRequest(
            f"`{param}` has no message of the user, so there is nothing to answer",
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
    """The content of a message that is not a tool result."""
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
    """The block of a tool result; blank text becomes empty text."""
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
    if message.content in (None, []):
        adjustments.ignore(message.content_at)
    for block in content_blocks(
        message.content, SYSTEM, message.content_at, adjustments
    ):
        texts.append(getattr(block.value, "text", ""))
        if "cache_control" in block.fields:
            adjustments.ignore(f"{block.at}.cache_control")
    if len(texts) > 1:
        adjustments.adjust(message.content_at)
    return "\n\n".join(texts)


def positive(value: int | None, param: str) -> int | None:
    """Check that a number is positive; returns the number.

    Raises:
        InvalidRequest: the number is less than 1.
    """
    if value is not None and value < 1:
        raise InvalidRequest(f"`{param}` must be at least 1", param=param)
    return value


def stops(named: Mapping[str, str], adjustments: Adjustments) -> tuple[str, ...]:
    """The stop sequences, without empty sequences, which would end every answer.

    Args:
        named: the sequences by their paths in the request.
        adjustments: records the paths of empty sequences.

    Raises:
        InvalidRequest: there are too many sequences of white space, or one is too long.
    """
    blank = [path for path, text in named.items() if text and is_blank(text)]
    for number, path in enumerate(blank):
        if number >= _MOST_BLANK_STOPS or len(named[path]) > _LONGEST_BLANK_STOP:
            raise InvalidRequest(
                f"`{path}`: at most {_MOST_BLANK_STOPS} stop sequences may be white "
                f"space, each with at most {_LONGEST_BLANK_STOP} characters, because "
                "the proxy looks for them itself; send fewer or shorter sequences",
                param=path,
            )
    adjustments.ignore(*(path for path, text in named.items() if not text))
    return tuple(text for text in named.values() if text)


def effort(name: str | None, param: str, adjustments: Adjustments) -> str | None:
    """Translate an effort of OpenAI's APIs to an effort of the Messages API.

    Args:
        name: the client's effort; None: the request sets none.
        param: the path of the effort in the request.
        adjustments: records the path if the Messages API lacks the effort.

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
