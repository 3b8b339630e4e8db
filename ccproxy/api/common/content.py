"""Translates the content of OpenAI's messages to blocks of the Messages API. Pure.

==================================  ==============================================
text, input_text, output_text,      ``text``; left out if it is blank
refusal
image_url, input_image              ``image``; its media type is read from its bytes
file, input_file                    ``document``
tool_use, tool_result, thinking …   unchanged: blocks of the Messages API, which some
                                    clients send within OpenAI's messages
reasoning, reasoning_text,          left out: another provider's reasoning
summary_text
==================================  ==============================================

Source: ``ChatCompletionRequestMessageContentPart…`` and ``InputContent`` in OpenAI's
document; requests of clients.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated

import msgspec
from attrs import evolve
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.common import media
from ccproxy.api.common.decoding import required
from ccproxy.api.common.fates import NO_LOGPROBS, granted, ignored, kept, name_unused
from ccproxy.api.common.pairing import NO_ID
from ccproxy.api.common.tools import function_call
from ccproxy.core.blocks import (
    Block,
    RedactedThinking,
    Text,
    Thinking,
    is_blank,
    text_block,
)
from ccproxy.core.errors import InvalidRequest, unsupported
from ccproxy.core.messages import Adjustments

# The roles of messages in OpenAI's APIs.
SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
RESULT = "tool_result"
# Blocks of the Messages API, and the role whose messages may have them.
_NATIVE_PARTS: Mapping[str, str] = {
    "tool_use": ASSISTANT,
    "thinking": ASSISTANT,
    "redacted_thinking": ASSISTANT,
    RESULT: USER,
    "image": USER,
    "document": USER,
}


# Parts in which some clients keep the text of another provider's reasoning.
_REASONING = ("reasoning", "reasoning_text", "summary_text")
# The fields that all types of parts use, and the further fields of each type.
_ALWAYS_USED = ("type", "cache_control", "prompt_cache_breakpoint")
_USED: Mapping[str, Collection[str]] = {
    **dict.fromkeys(("text", "input_text", "output_text"), ("text",)),
    "refusal": ("refusal",),
    **dict.fromkeys(("image_url", "input_image"), ("image_url", "file_id")),
    "file": ("file",),
    "input_file": ("file_data", "filename", "file_url", "file_id"),
}
# The `cache_control` for OpenAI's `prompt_cache_breakpoint`, without and with a `ttl`.
# OpenAI's `ttl` is a minimum.
_BREAKPOINT = Raw(b'{"type":"ephemeral"}')
_LONG_BREAKPOINT = Raw(b'{"type":"ephemeral","ttl":"1h"}')
_RENAMED = {"cache_control": "prompt_cache_breakpoint"}
_NO_DETAIL = "the provider scales images and pages itself"
# Some clients put OpenAI's encrypted reasoning into thinking blocks. This begins with a
# Fernet token, or with the id of its item and a token.
_FOREIGN_THINKING = re.compile(r"(rs_[^|]*\|)?gAAAA")


class _ImageURL(msgspec.Struct):
    url: str | None = None
    detail: Annotated[object, ignored(_NO_DETAIL)] = None


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class _Breakpoint(msgspec.Struct):
    mode: Annotated[object, granted("each breakpoint is explicit")] = None
    ttl: str | None = None


class ContentPart(msgspec.Struct, omit_defaults=True):
    """A part of a message's content, in chat completions or Responses."""

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
    detail: Annotated[object, ignored(_NO_DETAIL)] = None
    # Marks the end of a prompt that the client wants to be cached.
    prompt_cache_breakpoint: _Breakpoint | None = None
    # Fields of text in earlier answers.
    annotations: Annotated[object, kept("the proxy remembers citations")] = None
    logprobs: Annotated[object, ignored(NO_LOGPROBS)] = None
    # Fields of the Messages API, which some clients send to OpenAI's APIs.
    cache_control: Raw | UnsetType = UNSET
    id: str | None = None
    name: str | None = None
    input: Raw | UnsetType = UNSET
    tool_use_id: str | None = None
    content: Raw | UnsetType = UNSET
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    source: Raw | UnsetType = UNSET
    title: str | None = None
    context: str | None = None
    citations: Raw | UnsetType = UNSET


def content_blocks(
    content: str | list[ContentPart] | None,
    role: str,
    at: str,
    adjustments: Adjustments,
) -> list[Block]:
    """Translate a message's content, without blocks that the API does not accept.

    Args:
        content: a text, or parts.
        role: the message's role, one of the four constants of this module.
        at: the path of the content in the request.
        adjustments: records the paths of parts that are omitted or changed.

    Raises:
        ClientError: a part has an unknown type, or the role may not have it.
    """
    match content:
        case None | "":
            return []
        case str(text):
            return _sound([text_block(text, at)], adjustments)
        case parts:
            blocks: list[Block] = []
            for index, part in enumerate(parts):
                where = f"{at}[{index}]"
                if part.type in _REASONING and role == ASSISTANT:
                    adjustments.ignore(where)
                else:
                    blocks.append(_block(part, where, role, adjustments))
            return _sound(blocks, adjustments)


def as_users_results(
    content: str | list[ContentPart] | None, called: str | None, *, is_error: bool
) -> list[ContentPart] | None:
    """The parts of a ``tool`` message that has ``tool_result`` blocks.

    These blocks are the Messages API's form of results. In the Messages API, they are
    parts of a message of the user.

    Args:
        content: the message's content.
        called: the id of the call in the message, for results without an id.
        is_error: whether the message says that the call failed.

    Returns:
        The parts; None if the message has no such block.
    """
    if not isinstance(content, list) or all(p.type != RESULT for p in content):
        return None
    parts = []
    for part in content:
        if part.type == RESULT:
            about = {
                "tool_use_id": called if part.tool_use_id is None else part.tool_use_id,
                "is_error": is_error or part.is_error,
            }
            part = msgspec.structs.replace(part, **about)
        parts.append(part)
    return parts


def is_foreign_thinking(block: Block) -> bool:
    """Whether a block is thinking without a signature of this provider."""
    match block.value:
        case Thinking(signature=mark):
            return not mark or _FOREIGN_THINKING.match(mark) is not None
        case RedactedThinking(data=mark):
            return not mark or _FOREIGN_THINKING.match(mark) is not None
    return False


def _sound(blocks: Sequence[Block], adjustments: Adjustments) -> list[Block]:
    """Omit blocks that the API does not accept: blank texts, unsigned thinking."""
    kept = []
    for block in blocks:
        value = block.value
        is_blank_text = isinstance(value, Text) and is_blank(value.text)
        if is_blank_text or is_foreign_thinking(block):
            adjustments.ignore(block.at)
        else:
            kept.append(block)
    return kept


def _block(part: ContentPart, at: str, role: str, adjustments: Adjustments) -> Block:
    if part.type in _NATIVE_PARTS:
        return _native(part, role, at, adjustments)
    block = _openai_block(part, at, role, adjustments)
    if block.type != "text" and role in (ASSISTANT, SYSTEM):
        raise InvalidRequest(
            f"`{at}`: a message of role {role} may have text only; send images and "
            "files in a message of the user",
            param=f"{at}.type",
        )
    return block


def _cached(part: ContentPart, at: str, adjustments: Adjustments) -> Raw | UnsetType:
    """The part's breakpoint, by either name of the field."""
    marked = part.prompt_cache_breakpoint
    if marked is None or not isinstance(part.cache_control, UnsetType):
        return part.cache_control
    path = f"{at}.prompt_cache_breakpoint.ttl"
    match marked.ttl:
        case None:
            return _BREAKPOINT
        case "30m":
            return _LONG_BREAKPOINT
        case "12h":
            # The provider keeps no prefix longer than an hour.
            adjustments.adjust(path)
            return _LONG_BREAKPOINT
    adjustments.ignore(path)
    return _BREAKPOINT


def _openai_block(
    part: ContentPart, at: str, role: str, adjustments: Adjustments
) -> Block:
    name_unused(part, (*_ALWAYS_USED, *_USED.get(part.type, ())), adjustments, at)
    cached = part.cache_control
    if part.prompt_cache_breakpoint is None:
        return _marked_block(part, at, cached, adjustments)
    if role not in (USER, ASSISTANT):
        adjustments.ignore(f"{at}.prompt_cache_breakpoint")
        return _marked_block(part, at, cached, adjustments)
    if not isinstance(cached, UnsetType):
        return _marked_block(part, at, cached, adjustments)
    block = _marked_block(part, at, _cached(part, at, adjustments), adjustments)
    return evolve(block, renamed={**block.renamed, **_RENAMED})


def _marked_block(
    part: ContentPart, at: str, cached: Raw | UnsetType, adjustments: Adjustments
) -> Block:
    """The block for one of OpenAI's parts, with this ``cache_control``."""
    match part.type:
        case "text" | "input_text" | "output_text":
            text = required(part.text, f"{at}.text")
            return Block.make("text", at=at, text=text, cache_control=cached)
        case "refusal":
            text = required(part.refusal, f"{at}.refusal")
            return Block.make("text", at=at, text=text, cache_control=cached)
        case "image_url" | "input_image":
            media.no_uploads(part.file_id, f"{at}.file_id")
            if isinstance(part.image_url, _ImageURL):
                where = media.Part(at, "image_url.url", adjustments, cached)
                return media.image(part.image_url.url, where)
            where = media.Part(at, "image_url", adjustments, cached)
            return media.image(part.image_url, where)
        case "file":
            file = part.file or _File()
            media.no_uploads(file.file_id, f"{at}.file.file_id")
            where = media.Part(at, "file.file_data", adjustments, cached)
            data = required(file.file_data or None, where.path)
            return media.document(data, file.filename, where)
        case "input_file":
            media.no_uploads(part.file_id, f"{at}.file_id")
            if part.file_url and part.file_data:
                adjustments.ignore(f"{at}.file_url")
            elif part.file_url:
                where = media.Part(at, "file_url", adjustments, cached)
                return where.url("document", part.file_url, part.filename)
            where = media.Part(at, "file_data", adjustments, cached)
            data = required(part.file_data or None, where.path)
            return media.document(data, part.filename, where)
    unsupported(
        f"{at}.type",
        f"content of type {part.type!r} is not supported; send text, "
        "images (data: or https:), PDFs or text files",
    )


def _native(part: ContentPart, role: str, at: str, adjustments: Adjustments) -> Block:
    """Decode a part that is a block of the Messages API."""
    own_role = _NATIVE_PARTS[part.type]
    if role != own_role and not (role == TOOL and part.type in ("image", "document")):
        raise InvalidRequest(
            f"`{at}`: a block of type {part.type!r} belongs to a message of role "
            f"{own_role}",
            param=f"{at}.type",
        )
    if part.type == "tool_use":
        used = (*_ALWAYS_USED, "name", "input", "id")
        name_unused(part, used, adjustments, at)
        name = required(part.name, f"{at}.name")
        arguments = "" if isinstance(part.input, UnsetType) else part.input
        identifier = NO_ID if part.id is None else part.id
        called = function_call(identifier, name, arguments, at, adjustments, {})
        cached = _cached(part, at, adjustments)
        is_bare = isinstance(cached, UnsetType)
        return called if is_bare else called.replaced(cache_control=cached)
    try:
        native = msgspec.structs.replace(
            part,
            prompt_cache_breakpoint=None,
            cache_control=_cached(part, at, adjustments),
        )
        block = Block.decode(msgspec.json.encode(native), at)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"`{at}`: {error}", param=at) from None
    return media.corrected(block, adjustments)
