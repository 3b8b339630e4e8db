"""The client's tools, as the CLI takes them: an MCP server that is us. Pure.

The CLI is told of the server and its tools by ``initialize``. From 2.1.280 on it
believes that; an older one asks again by ``mcp_message``, and must be answered. It
asks us to run a tool by ``tools/call``, which is never answered here: the call has
been told to the client, who runs it and asks anew with the result.

Source: protocol notes, "Tools".
"""

from collections.abc import Mapping, Sequence

from ccproxy.claude.records import MCPMessage
from ccproxy.conversation import Tool

# The name that `--allowedTools mcp__client` allows.
SERVER = "client"

_INITIALIZED: Mapping[str, object] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": SERVER, "version": "1"},
}


def offer(tools: Sequence[Tool]) -> Mapping[str, object]:
    """What ``initialize`` says of the tools; nothing if there are none."""
    if not tools:
        return {}
    manifest = {"initializeResult": _INITIALIZED, "toolsListResult": _listed(tools)}
    return {"sdkMcpServers": [SERVER], "sdkMcpServerManifests": {SERVER: manifest}}


def answer(message: MCPMessage, tools: Sequence[Tool]) -> Mapping[str, object] | None:
    """What to answer a message to our server; None: nothing, it is a call."""
    if message.method == "tools/call":
        return None
    # Notifications and pings have an empty result.
    results = {"initialize": _INITIALIZED, "tools/list": _listed(tools)}
    result = results.get(message.method, {})
    return {"jsonrpc": "2.0", "id": message.id or 0, "result": result}


def _listed(tools: Sequence[Tool]) -> Mapping[str, object]:
    return {
        "tools": [
            {
                "name": tool.name,
                "description": tool.description or "",
                "inputSchema": tool.input_schema,
            }
            for tool in tools
        ]
    }
