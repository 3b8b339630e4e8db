"""Signatures of thinking as the scripted Messages API makes and checks them.

The provider signs each block of thinking. With newer models it refuses a block if the
conversation before it has changed (rule 25). The real signature is secret.
Ours tells the model and a hash of the prefix, so that no state is needed to check it:
``sig1.MODEL.HASH``.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

_MARK = "sig1"
# Breakpoints move from turn to turn, and are no part of what a model reads.
_UNREAD = ("cache_control",)


@frozen
class Signature:
    """What a signature of the scripted API says of its block."""

    model: str
    prefix: str


def sign(body: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
    """The signature of thinking in the answer to a request.

    Args:
        body: the request.
        before: the blocks of the answer in front of it.
    """
    digest = _start(body)
    for role, block in _blocks(body["messages"]):
        _add(digest, role, block)
    for block in before:
        _add(digest, "assistant", block)
    return f"{_MARK}.{body['model']}.{digest.hexdigest()[:32]}"


def read_signature(text: str) -> Signature | None:
    """What a signature says; None: the scripted API did not make it."""
    parts = text.split(".")
    if len(parts) < 3 or parts[0] != _MARK:
        return None
    return Signature(".".join(parts[1:-1]), parts[-1])


def prefixes(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The place of each block of a request, and the hash of everything before it."""
    digest = _start(body)
    for number, message in enumerate(body["messages"]):
        content = message.get("content")
        blocks = content if isinstance(content, list) else [content]
        for index, block in enumerate(blocks):
            yield f"messages.{number}.content.{index}", digest.hexdigest()[:32]
            _add(digest, message["role"], block)


def _start(body: Mapping[str, Any]) -> Any:
    system = body.get("system", [])
    blocks = [system] if isinstance(system, str) else system
    # The attribution in front differs from question to question.
    attributed = bool(blocks) and _text(blocks[0]).startswith("x-anthropic-billing")
    digest = hashlib.sha256()
    for block in blocks[1:] if attributed else blocks:
        _add(digest, "system", block)
    for tool in body.get("tools", []):
        _add(digest, "tools", tool)
    return digest


def _blocks(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else [content]:
            yield message["role"], block


def _add(digest: Any, role: str, block: Any) -> None:
    read = _read(block if isinstance(block, Mapping) else _as_block(block))
    digest.update(json.dumps([role, read], sort_keys=True).encode())


def _as_block(text: object) -> Mapping[str, object]:
    return {"type": "text", "text": text}


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _read(v) for k, v in value.items() if k not in _UNREAD}
    if isinstance(value, list):
        return [_read(each) for each in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # A client that prints 1.0 as 1 has changed nothing.
        return float(value)
    return value


def _text(block: Any) -> str:
    text = block if isinstance(block, str) else block.get("text", "")
    return str(text)
