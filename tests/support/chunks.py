"""Chunks of a streamed chat completion."""

import json
from typing import Any

from tests.support.server import (
    events,
)


def chunks_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(data) for data in events(text) if data != "[DONE]"]


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["index"] == index
    )
