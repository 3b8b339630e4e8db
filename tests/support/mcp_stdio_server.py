"""A small MCP server over stdio: two tools whose results depend on their arguments.

Run as a program of its own, with the standard library only.
"""

import json
import sys
from typing import Any

TOOLS = [
    {
        "name": "price_of",
        "description": "The price of a fruit, in cents.",
        "inputSchema": {
            "type": "object",
            "properties": {"fruit": {"type": "string"}},
            "required": ["fruit"],
        },
    },
    {
        "name": "times",
        "description": "The product of two integers.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
]


def _result(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "shop", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        given = params["arguments"]
        if params["name"] == "price_of":
            text = f"{len(given['fruit']) * 7} cents"
        else:
            text = str(given["a"] * given["b"])
        return {"content": [{"type": "text", "text": text}]}
    return {}


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            result = _result(asked["method"], asked.get("params") or {})
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
            print(json.dumps(answer), flush=True)
