"""Parts of a translated request as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from ccproxy.core.messages import Message, Tool


def told_messages(messages: Sequence[Message]) -> list[tuple[str, Any]]:
    """Each message's role and content, the content as JSON has it."""
    return [(message.role, told_content(message)) for message in messages]


def told_content(message: Message) -> Any:
    """The content of a message, as JSON has it."""
    if isinstance(message.content, str):
        return message.content
    return [json.loads(block.raw) for block in message.content]


def told_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools, as JSON has them."""
    return [json.loads(tool.raw) for tool in tools]
