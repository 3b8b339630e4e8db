"""Bodies for the tests of the scripted provider."""

from collections.abc import Mapping
from typing import Any

OPUS, SONNET, HAIKU = "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"
OLD = "claude-sonnet-4-5"
USER = {"role": "user", "content": "hello"}
TEXT = {"type": "text", "text": "hello"}
CACHE = {"type": "ephemeral"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "blue"}
ADAPTIVE = {"type": "adaptive"}
OFF = {"type": "disabled"}


def body(*messages: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A request; a field that is None is left out."""
    whole = {
        "model": SONNET,
        "max_tokens": 1000,
        "stream": True,
        "messages": list(messages or [USER]),
        **fields,
    }
    return {key: value for key, value in whole.items() if value is not None}


def user(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}
