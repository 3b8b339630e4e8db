"""Messages API: the blocks of a request, to native ones. Pure.

They are nearly the neutral form already; what is left is to check them, because a block
that stands where it means nothing would be refused much later, or lost.

Source: the Messages API's content blocks, as anthropic-python 2.14 types them.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from ccproxy.conversation import (
    Block,
    DocumentBlock,
    ImageBlock,
    Message,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    is_blank,
)
from ccproxy.dialects import media
from ccproxy.dialects.refusal import unsupported
from ccproxy.errors import InvalidRequest, MissingParameter

# What ran elsewhere, and whose traces are of no use to another server.
_FOREIGN = ("server_tool_use", "web_search_tool_result")


class Source(msgspec.Struct):
    """Where an image or a document comes from."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    # Of documents that are made of blocks.
    content: "str | list[Part] | None" = None


class Part(msgspec.Struct):
    """A content block of any kind."""

    type: str
    text: str | None = None
    # Images, documents; of a search result, where it was found.
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    # Thinking.
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    # Calls and their results.
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    # A result's, or a search result's. That of other servers' tools may be an object.
    content: "str | list[Part] | dict[str, Any] | None" = None
    is_error: bool | None = None


def message(role: Role, content: str | Sequence[Part], at: str) -> Message:
    """One turn of the conversation.

    Args:
        role: who speaks.
        content: what is said.
        at: the message's path in the request.

    Raises:
        ClientError: a block that there is not, or that the other one says.
    """
    if isinstance(content, str):
        return Message(role, (TextBlock(content),))
    blocks: list[Block] = []
    for index, part in enumerate(content):
        block = _block(part, role, f"{at}.content[{index}]")
        if block is not None:
            blocks.append(block)
    return Message(role, tuple(blocks))


def texts(content: str | Sequence[Part], at: str) -> list[str]:
    """What may have nothing but text in it.

    Args:
        content: a text, or blocks.
        at: its path.

    Raises:
        ClientError: a block of another kind.
    """
    if isinstance(content, str):
        return [content]
    found = []
    for index, part in enumerate(content):
        if part.type != "text":
            raise InvalidRequest(
                f"`{at}[{index}]` may only be text", param=f"{at}[{index}].type"
            )
        found.append(_required(part.text, f"{at}[{index}].text"))
    return found


def _block(part: Part, role: Role, at: str) -> Block | None:
    match part.type:
        case "text":
            return TextBlock(_required(part.text, f"{at}.text"))
        case "tool_use" | "thinking" | "redacted_thinking":
            _check_speaker(part, role, Role.ASSISTANT, at)
            return _said(part, at)
        case "tool_result":
            _check_speaker(part, role, Role.USER, at)
            return _result(part, at)
        case kind if kind in _FOREIGN:
            return None
    shown = _shown(part, at)
    _check_speaker(part, role, Role.USER, at)
    return shown


def _check_speaker(part: Part, role: Role, whose: Role, at: str) -> None:
    if role is not whose:
        raise InvalidRequest(
            f"`{at}`: a block of type {part.type!r} belongs to a message of role "
            f"{whose.value}",
            param=f"{at}.type",
        )


def _said(part: Part, at: str) -> Block | None:
    """What only the assistant says."""
    if part.type == "tool_use":
        return ToolUseBlock(
            _required(part.id, f"{at}.id"),
            _required(part.name, f"{at}.name"),
            {} if part.input is None else part.input,
        )
    if part.type == "redacted_thinking":
        return RedactedThinkingBlock(_required(part.data, f"{at}.data"))
    # Without its signature it cannot be given back.
    if not part.signature:
        return None
    return ThinkingBlock(part.thinking or "", part.signature)


def _result(part: Part, at: str) -> ToolResultBlock:
    identifier = _required(part.tool_use_id, f"{at}.tool_use_id")
    is_error = part.is_error or False
    match part.content:
        case None:
            return ToolResultBlock(identifier, "", is_error)
        case str(text):
            return ToolResultBlock(identifier, text, is_error)
        case list(parts):
            shown = [_shown(p, f"{at}.content[{n}]") for n, p in enumerate(parts)]
            told = [b for b in shown if not (isinstance(b, TextBlock) and _blank(b))]
            match told:
                case [] | [TextBlock()]:
                    # So it is the same as a bare text, which the CLI makes a block of.
                    text = "".join(b.text for b in told if isinstance(b, TextBlock))
                    return ToolResultBlock(identifier, text, is_error)
            return ToolResultBlock(identifier, tuple(told), is_error)
    raise InvalidRequest(
        f"`{at}.content` must be a text or a list of blocks", param=f"{at}.content"
    )


def _blank(block: TextBlock) -> bool:
    return is_blank(block.text)


def _shown(part: Part, at: str) -> TextBlock | ImageBlock | DocumentBlock:
    """What a user, or a tool, can show to the model."""
    match part.type:
        case "text":
            return TextBlock(_required(part.text, f"{at}.text"))
        case "image":
            return _image(_source(part, at), f"{at}.source")
        case "document":
            return _document(part, _source(part, at), f"{at}.source")
        case "search_result":
            return _search_result(part, at)
    unsupported(
        f"{at}.type",
        f"blocks of type {part.type!r} mean nothing here; send text, images, "
        "documents, thinking, calls of your tools and their results",
    )


def _source(part: Part, at: str) -> Source:
    if isinstance(part.source, Source):
        return part.source
    raise MissingParameter(f"`{at}.source` is missing", param=f"{at}.source")


def _image(source: Source, at: str) -> ImageBlock:
    match source.type:
        case "base64":
            return media.image(_data_url(source, at), f"{at}.data")
        case "url":
            return media.image(source.url, f"{at}.url")
        case "file":
            media.no_uploads(source.file_id or "", f"{at}.file_id")
    unsupported(f"{at}.type", f"{source.type!r} is neither base64 nor url")


def _document(part: Part, source: Source, at: str) -> DocumentBlock:
    found = _read(source, part.title, at)
    return DocumentBlock(
        found.media_type, found.source, found.title, part.context or None
    )


def _read(source: Source, title: str | None, at: str) -> DocumentBlock:
    match source.type:
        case "base64":
            return media.document(_data_url(source, at), None, title, f"{at}.data")
        case "text":
            text = _required(source.data, f"{at}.data")
            return media.text_document(text, title, f"{at}.data")
        case "url":
            return media.document(None, source.url, title, f"{at}.url")
        case "content" if source.content is not None:
            joined = "\n\n".join(texts(source.content, f"{at}.content"))
            return media.text_document(joined, title, f"{at}.content")
        case "file":
            media.no_uploads(source.file_id or "", f"{at}.file_id")
    unsupported(f"{at}.type", f"{source.type!r} is none of base64, text, url, content")


def _search_result(part: Part, at: str) -> DocumentBlock:
    """A search result as the document that it is an extract of."""
    found = part.content
    if not isinstance(found, list):
        raise MissingParameter(f"`{at}.content` is missing", param=f"{at}.content")
    joined = "\n\n".join(texts(found, f"{at}.content"))
    where = part.source if isinstance(part.source, str) else None
    shown = media.text_document(joined, part.title, f"{at}.content")
    return DocumentBlock(shown.media_type, shown.source, shown.title, where or None)


def _data_url(source: Source, at: str) -> str:
    data = _required(source.data, f"{at}.data")
    return f"data:{source.media_type or ''};base64,{data}"


def _required(value: str | None, param: str) -> str:
    if value is None:
        raise MissingParameter(f"`{param}` is missing", param=param)
    return value
