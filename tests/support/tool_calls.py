"""Tools, scripted calls of tools, and the turns of a recorded body."""

from collections.abc import Mapping
from typing import Any

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words
from tests.support.mutations import WEATHER

BASH = {"name": "Bash", "parameters": {"type": "object", "properties": {}}}
TOOLS: list[Any] = [{"type": "function", "function": f} for f in (WEATHER, BASH)]


def calls(*blocks: ScriptedBlock) -> Reply:
    return Reply(blocks=blocks, stop_reason="tool_use")


def call(identifier: str, city: str) -> ScriptedBlock:
    pieces = ('{"ci', 'ty": ', f'"{city}"}}')
    return ScriptedBlock(pieces, tool_use=(identifier, "get_weather"))


ONE = calls(words("Let me look."), call("toolu_1", "Paris"))
TWO = calls(call("toolu_1", "Paris"), call("toolu_2", "Oslo"))


def native(body: Mapping[str, Any]) -> list[Any]:
    """The turns of an upstream body, blocks and all, without the CLI's own marks.

    2.1.251 tells the date in a block of its own, in native mode.
    """
    turns = []
    for message in body["messages"]:
        if message["role"] != "system":
            content = message["content"]
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            blocks = [
                {k: v for k, v in block.items() if k != "cache_control"}
                for block in content
                if not block.get("text", "").startswith("<system-reminder>")
            ]
            turns.append((message["role"], blocks))
    return turns
