"""Encodes a conversation as input lines for the CLI: one line for each turn. Pure.

Source: docs/claude-cli-protocol.md, "History".
"""

from collections.abc import Sequence

from ccproxy.claude.native.prompt import (
    Block,
    DocumentBlock,
    ImageBlock,
    PromptMessage,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.claude.protocol.codec import encode
from ccproxy.core.blocks import is_blank


def turn(message: PromptMessage, identifier: str, *, model: str, ask: bool) -> bytes:
    """Encode one turn as a line.

    Args:
        message: the turn.
        identifier: a UUID for a user's turn; a unique id for an assistant's turn,
            because the CLI merges two turns with the same id.
        model: the full id of the model of an assistant's turn without thinking.
        ask: whether this user's turn is the question, which the model has to answer.
    """
    if message.role is Role.ASSISTANT:
        return encode(
            {
                "type": "assistant",
                "message": {
                    "id": identifier,
                    "type": "message",
                    "role": "assistant",
                    "model": _thinking_model(message) or model,
                    "content": _blocks(message.content),
                    "stop_reason": "end_turn",
                    "usage": {"input_tokens": 0, "output_tokens": 0},
                },
                "parent_tool_use_id": None,
                "session_id": "",
            }
        )
    record: dict[str, object] = {
        "type": "user",
        "message": {"role": "user", "content": _blocks(message.content)},
        "parent_tool_use_id": None,
        "session_id": "",
        "uuid": identifier,
        # Without this field, the CLI interprets the text: for `@/etc/passwd` it sends
        # that file, and `/clear` is run as a command.
        "client_composed": True,
    }
    if not ask:
        record["shouldQuery"] = False
    return encode(record)


def _blocks(blocks: Sequence[Block]) -> list[dict[str, object]]:
    return [_block(block) for block in blocks]


def _thinking_model(message: PromptMessage) -> str:
    """The model that made a turn's thinking; the CLI sends it only to that model."""
    for block in message.content:
        if isinstance(block, ThinkingBlock | RedactedThinkingBlock):
            return block.model
    return ""


def _source(media_type: str | None, source: str) -> dict[str, object]:
    if media_type is None:
        return {"type": "url", "url": source}
    encoding = "text" if media_type == "text/plain" else "base64"
    return {"type": encoding, "media_type": media_type, "data": source}


def _block(block: Block) -> dict[str, object]:
    about: dict[str, object]
    match block:
        case TextBlock(text):
            return {"type": "text", "text": text}
        case ToolUseBlock(identifier, name, arguments):
            about = {"type": "tool_use", "id": identifier, "name": name}
            return {**about, "input": arguments}
        case ImageBlock(media_type, source):
            return {"type": "image", "source": _source(media_type, source)}
        case DocumentBlock(media_type, source):
            about = {"type": "document", "source": _source(media_type, source)}
            texts = {"title": block.title, "context": block.context}
            return {**about, **{k: v for k, v in texts.items() if v is not None}}
        case ToolResultBlock(identifier, content, is_error):
            inner = _result(content, is_error=is_error)
            result: dict[str, object] = {
                "type": "tool_result",
                "tool_use_id": identifier,
                "content": inner,
            }
            return {**result, "is_error": True} if is_error else result
        case ThinkingBlock(thinking=thinking, signature=signature):
            about = {"type": "thinking", "thinking": thinking}
            return {**about, "signature": signature}
        case RedactedThinkingBlock(data=data):
            return {"type": "redacted_thinking", "data": data}


def _result(
    content: "str | Sequence[Block]", *, is_error: bool
) -> str | list[dict[str, object]]:
    """A result in the form that the CLI itself writes."""
    if not isinstance(content, str):
        return _blocks(content)
    if is_error or is_blank(content):
        return content
    return _blocks([TextBlock(content)])
