"""What the dialects have in common when they build a prompt. Pure.

They differ in the names of fields, and agree on what a conversation is: messages
with a role, whose content is a string or parts: text, images, files.
"""

from collections.abc import Mapping, Sequence

import msgspec
from attrs import frozen

from ccproxy.conversation import (
    Block,
    DocumentBlock,
    Effort,
    ImageBlock,
    Message,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    is_blank,
    turns,
)
from ccproxy.dialects import media
from ccproxy.dialects.refusal import unsupported
from ccproxy.dialects.tools import paired
from ccproxy.errors import InvalidRequest, MissingParameter

_SYSTEM_ROLES = ("system", "developer")
_ROLES: Mapping[str, Role] = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.USER,
}
_EFFORTS: Mapping[str, Effort] = {
    "none": Effort.LOW,
    "minimal": Effort.LOW,
    **{effort.value: effort for effort in Effort},
}


class _ImageURL(msgspec.Struct):
    url: str | None = None


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class Part(msgspec.Struct):
    """A part of a message's content, of either dialect."""

    type: str
    text: str | None = None
    refusal: str | None = None
    # An image: an object in chat completions, a URL in Responses.
    image_url: str | _ImageURL | None = None
    # A file: an object in chat completions, flat in Responses.
    file: _File | None = None
    file_data: str | None = None
    filename: str | None = None
    file_url: str | None = None
    file_id: str | None = None


@frozen
class Said:
    """One message.

    Attributes:
        at: its path in the request, for error messages.
        calls: what the assistant called in it.
        thinking: what it thought before it said so.
        result_of: the id of the call whose result this is.
        is_error: whether that is a failure.
        field: what the request calls the content.
    """

    at: str
    role: str
    content: str | list[Part] | None
    calls: tuple[ToolUseBlock, ...] = ()
    thinking: tuple[ThinkingBlock | RedactedThinkingBlock, ...] = ()
    result_of: str | None = None
    is_error: bool = False
    field: str = "content"


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
        UnsupportedValue: content that the model cannot be shown.
    """
    spoken = [message for message in said if message.role not in _SYSTEM_ROLES]
    turned = [(Message(_role(one), _content(one)), one.at) for one in spoken]
    return native(turned, param)


def native(spoken: Sequence[tuple[Message, str]], param: str) -> tuple[Message, ...]:
    """The native turns of messages that have content blocks already.

    Args:
        spoken: each with its path.
        param: the field that holds them.

    Raises:
        InvalidRequest: there is nothing to answer.
    """
    messages = [message for message, _ in spoken]
    if not spoken:
        raise InvalidRequest(
            f"`{param}` has no message of the user; there is nothing to answer",
            param=param,
        )
    _, last = spoken[-1]
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
    return paired(turns(map(_without_loose_thinking, turns(messages))), param)


def _without_loose_thinking(message: Message) -> Message:
    """The turn without thinking that nothing came of, which the API refuses."""
    content = list(message.content)
    while content and isinstance(content[-1], ThinkingBlock | RedactedThinkingBlock):
        content.pop()
    return Message(message.role, tuple(content))


def _role(message: Said) -> Role:
    if message.role not in _ROLES:
        raise InvalidRequest(
            f"`{message.at}.role`: {message.role!r} is no role; there are system, "
            "developer, user, assistant and tool",
            param=f"{message.at}.role",
        )
    return _ROLES[message.role]


def _content(message: Said) -> tuple[Block, ...]:
    parts = _parts(message)
    if message.result_of is not None:
        result = _result(parts)
        return (ToolResultBlock(message.result_of, result, message.is_error),)
    blocks = [_shown(message.role, part, at) for part, at in parts]
    return (*message.thinking, *blocks, *message.calls)


def _result(
    parts: Sequence[tuple[Part, str]],
) -> str | tuple[TextBlock | ImageBlock | DocumentBlock, ...]:
    blocks = [_block(part, at) for part, at in parts]
    if any(not isinstance(block, TextBlock) for block in blocks):
        return tuple(
            block
            for block in blocks
            if not (isinstance(block, TextBlock) and is_blank(block.text))
        )
    return "".join(block.text for block in blocks if isinstance(block, TextBlock))


def _shown(role: str, part: Part, at: str) -> TextBlock | ImageBlock | DocumentBlock:
    block = _block(part, at)
    if role == "assistant" and not isinstance(block, TextBlock):
        raise InvalidRequest(
            f"`{at}`: the assistant says text only; images and files are the user's",
            param=f"{at}.type",
        )
    return block


def _parts(message: Said) -> Sequence[tuple[Part, str]]:
    match message.content:
        case None:
            return ()
        case str(text):
            return ((Part("text", text=text), message.at),)
        case parts:
            at = f"{message.at}.{message.field}"
            return [(part, f"{at}[{n}]") for n, part in enumerate(parts)]


def _texts(message: Said) -> Sequence[str]:
    """The texts of a message that may have nothing else in it."""
    texts = []
    for part, at in _parts(message):
        block = _block(part, at)
        if not isinstance(block, TextBlock):
            raise InvalidRequest(
                f"`{at}`: a message of role {message.role} has text only",
                param=f"{at}.type",
            )
        texts.append(block.text)
    return texts


def _block(part: Part, at: str) -> TextBlock | ImageBlock | DocumentBlock:
    match part.type:
        case "text" | "input_text" | "output_text":
            return TextBlock(_required(part.text, f"{at}.text"))
        case "refusal":
            return TextBlock(_required(part.refusal, f"{at}.refusal"))
        case "image_url" | "input_image":
            media.no_uploads(part.file_id, f"{at}.file_id")
            if isinstance(part.image_url, _ImageURL):
                return media.image(part.image_url.url, f"{at}.image_url.url")
            return media.image(part.image_url, f"{at}.image_url")
        case "file":
            file = part.file or _File()
            media.no_uploads(file.file_id, f"{at}.file.file_id")
            data_at = f"{at}.file.file_data"
            return media.document(file.file_data, None, file.filename, data_at)
        case "input_file":
            media.no_uploads(part.file_id, f"{at}.file_id")
            return media.document(
                part.file_data,
                part.file_url,
                part.filename,
                f"{at}.file_data",
                url_at=f"{at}.file_url",
            )
    unsupported(
        f"{at}.type",
        f"there is no content of type {part.type!r}; send text, "
        "images (data: or https:), PDFs or text files",
    )


def _required(text: str | None, param: str) -> str:
    if text is None:
        raise MissingParameter(f"`{param}` is missing", param=param)
    return text


def positive(value: int | None, param: str) -> int | None:
    """Check a limit.

    Raises:
        InvalidRequest: it is less than one.
    """
    if value is not None and value < 1:
        raise InvalidRequest(f"`{param}` must be at least 1", param=param)
    return value


def stops(named: Mapping[str, str]) -> tuple[str, ...]:
    """The sequences at which the answer ends.

    Args:
        named: each by its path.

    Raises:
        UnsupportedValue: one that the model's API refuses.
    """
    for param, text in named.items():
        if is_blank(text):
            unsupported(param, "the model cannot stop at white space alone")
    return tuple(named.values())


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
