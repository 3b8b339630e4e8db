"""Waits until the operator's MCP servers are connected, and lists their tools.

The CLI connects to its servers when it starts. It sends the first question when each
server is connected or has failed. Until then, the CLI reports the server as
``pending``.

Source: docs/claude-cli-protocol.md, "MCP servers of the operator".
"""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ccproxy.claude.protocol import requests
from ccproxy.claude.protocol.codec import WireError
from ccproxy.claude.protocol.control import ControlChannel

# The time between two questions to the CLI, which answers within milliseconds.
PAUSE_SECONDS = 0.05
CONNECTED = "connected"
_PENDING = "pending"


class OfferedTool(msgspec.Struct):
    """A tool of a server."""

    name: str


class ServerState(msgspec.Struct):
    """A server, as the CLI reports it."""

    name: str
    status: str
    error: str | None = None
    tools: list[OfferedTool] = []

    @property
    def is_connected(self) -> bool:
        """Whether the model can use the server's tools."""
        return self.status == CONNECTED


class _Status(msgspec.Struct):
    servers: list[ServerState] = msgspec.field(name="mcpServers")


async def settled_servers(
    controls: ControlChannel, pause: Callable[[], Awaitable[object]]
) -> Sequence[ServerState]:
    """Wait until the CLI has connected to each server, or has given up.

    Args:
        controls: sends control requests to the initialized CLI.
        pause: waits for `PAUSE_SECONDS`.

    Raises:
        CCProxyError: the CLI has ended, or refuses.
        WireError: the CLI's answer has an unknown shape.
    """
    while True:
        reply = await controls.ask(requests.mcp_status())
        try:
            states = msgspec.json.decode(reply.response.response, type=_Status).servers
        except msgspec.DecodeError as error:
            raise WireError(f"an unknown status of MCP servers: {error}") from None
        if all(state.status != _PENDING for state in states):
            return states
        await pause()
