"""The names of MCP servers and their tools, as ``--agent-tools`` has them. Pure.

``mcp__SERVER`` is the name for all tools of a server, ``mcp__SERVER__TOOL`` that of one
tool. The model knows a tool by the second form.
"""

# The name of the server by which the proxy offers the client's tools to the CLI.
CLIENT_SERVER = "client"
_PREFIX = "mcp__"


def is_mcp_tool(name: str) -> bool:
    """Whether a name in ``--agent-tools`` is that of an MCP server or its tool."""
    return name.startswith(_PREFIX)


def mcp_tool(server: str) -> str:
    """The name for all tools of a server.

    The name of each tool of the server begins with this name and ``__``.
    """
    return f"{_PREFIX}{server}"


def is_tool_of(name: str, server: str) -> bool:
    """Whether a name in ``--agent-tools`` is that of a server, or of its tool."""
    return name == mcp_tool(server) or name.startswith(f"{mcp_tool(server)}__")
