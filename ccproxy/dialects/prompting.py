"""What the dialects have in common when they build a prompt. Pure.

They differ in the names of fields, and agree on what a conversation is: messages
with a role, whose content is a string or parts of text.
"""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec
from attrs import frozen

from ccproxy.conversation import (
    Block,
    Effort,
    Message,
    Role,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    is_blank,
    turns,
)
from ccproxy.dialects.tools import paired
from ccproxy.errors import InvalidRequest, MissingParameter, UnsupportedValue

_SYSTEM_ROLES = ("system", "developer")
_ROLES: Mapping[str, Role] = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.USER,
}
_TEXT_PARTS = ("text", "input_text", "output_text")
_EFFORTS: Mapping[str, Effort] = {
    "none": Effort.LOW,
    "minimal": Effort.LOW,
    **{effort.value: effort for effort in Effort},
}
# What every JSON reader on the way can still tell from its neighbours.
_LARGEST_NUMBER = 2**53


class Part(msgspec.Struct):
    """A part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None


@frozen
class Said:
    """One message.

    Attributes:
        at: its path in the request, for error messages.
        calls: what the assistant called in it.
        result_of: the id of the call whose result this is.
    """

    at: str
    role: str
    content: str | list[Part] | None
    calls: tuple[ToolUseBlock, ...] = ()
    result_of: str | None = None


def unsupported(param: str, why: str) -> NoReturn:
    """Refuse what the answer cannot honestly do without.

    Raises:
        UnsupportedValue: always.
    """
    raise UnsupportedValue(f"`{param}` is not supported: {why}", param=param)


def system_prompt(said: Sequence[Said], *, first: str = "") -> str:
    """Join the system and developer messages, wherever they stand."""
    texts = [first]
    for message in said:
        if message.role in _SYSTEM_ROLES:
            # Parts of one message are one text; there are no blocks for them.
            texts.append("".join(_texts(message)))
    return "\n\n".join(text for text in texts if not is_blank(text))


def conversation(said: Sequence[Said], param: str) -> tuple[Message, ...]:
    """The native turns, which satisfy the invariants of `Prompt.messages`.

    Args:
        said: all messages, system and developer ones too.
        param: the field that holds them.

    Raises:
        InvalidRequest: there is nothing to answer, or an unknown role.
        UnsupportedValue: content other than text.
    """
    spoken = [message for message in said if message.role not in _SYSTEM_ROLES]
    messages = [Message(_role(message), _content(message)) for message in spoken]
    if not spoken:
        raise InvalidRequest(
            f"`{param}` has no message of the user; there is nothing to answer",
            param=param,
        )
    last = spoken[-1].at
    if messages[-1].role is Role.ASSISTANT:
        raise InvalidRequest(
            f"`{last}`: the conversation ends with the assistant; "
            "end it with a message of the user",
            param=f"{last}.role",
        )
    if not turns(messages[-1:]):
        raise InvalidRequest(
            f"`{last}`: the last message is blank; say something in it",
            param=f"{last}.content",
        )
    return paired(turns(messages), param)


def _role(message: Said) -> Role:
    if message.role not in _ROLES:
        raise InvalidRequest(
            f"`{message.at}.role`: {message.role!r} is no role; there are system, "
            "developer, user, assistant and tool",
            param=f"{message.at}.role",
        )
    return _ROLES[message.role]


def _content(message: Said) -> tuple[Block, ...]:
    if message.result_of is not None:
        return (ToolResultBlock(message.result_of, "".join(_texts(message))),)
    return (*map(TextBlock, _texts(message)), *message.calls)


def _texts(message: Said) -> Sequence[str]:
    match message.content:
        case None:
            return ()
        case str(text):
            return (text,)
        case parts:
            return [
                _text(part, f"{message.at}.content[{index}]")
                for index, part in enumerate(parts)
            ]


def _text(part: Part, at: str) -> str:
    if part.type in _TEXT_PARTS:
        text, field = part.text, "text"
    elif part.type == "refusal":
        text, field = part.refusal, "refusal"
    else:
        raise UnsupportedValue(
            f"`{at}.type`: content of type {part.type!r} is not supported so far; "
            "send text",
            param=f"{at}.type",
        )
    if text is None:
        raise MissingParameter(f"`{at}.{field}` is missing", param=f"{at}.{field}")
    return text


def positive(value: int | None, param: str) -> int | None:
    """Check a limit.

    Raises:
        InvalidRequest: it is less than one.
    """
    if value is not None and value < 1:
        raise InvalidRequest(f"`{param}` must be at least 1", param=param)
    return value


def number(value: float, param: str) -> float:
    """Check a number that is passed on.

    Raises:
        InvalidRequest: no two readers would agree on it.
    """
    if abs(value) > _LARGEST_NUMBER:
        raise InvalidRequest(f"`{param}` is out of all bounds", param=param)
    return value


def effort(name: str | None, param: str) -> Effort | None:
    """How hard to think, by OpenAI's names.

    Raises:
        InvalidRequest: there is no such effort; lists them.
    """
    if name is None:
        return None
    if name not in _EFFORTS:
        raise InvalidRequest(
            f"`{param}`: {name!r} is none of {', '.join(_EFFORTS)}", param=param
        )
    return _EFFORTS[name]
