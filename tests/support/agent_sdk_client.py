"""A program that asks by the Claude Agent SDK, with a tool in its own process.

Run as ``agent_sdk_client.py CLAUDE QUESTION``, where CLAUDE is the CLI of the SDK. It
prints the last message as JSON.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ResultMessage,
    create_sdk_mcp_server,
    query,
    tool,
)

SYSTEM = "You sell fruit."


async def price_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Tell the price of a fruit."""
    text = f"{len(arguments['fruit']) * 7} cents"
    return {"content": [{"type": "text", "text": text}]}


async def ask(claude: str, question: str) -> Mapping[str, Any]:
    """Ask; returns what the SDK says at the end."""
    about = "The price of a fruit, in cents."
    shop = create_sdk_mcp_server(
        "shop", tools=[tool("price_of", about, {"fruit": str})(price_of)]
    )
    options = ClaudeAgentOptions(
        cli_path=claude,
        model="opus",
        system_prompt=SYSTEM,
        mcp_servers={"shop": shop},
        strict_mcp_config=True,
        allowed_tools=["mcp__shop__price_of"],
        setting_sources=[],
    )
    last: Mapping[str, Any] = {}
    async for message in query(prompt=question, options=options):
        if isinstance(message, ResultMessage):
            last = {
                "result": message.result,
                "is_error": message.is_error,
                "num_turns": message.num_turns,
            }
    return last


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(*sys.argv[1:]))))
