"""An MCP server that offers the client's tools to the CLI. Pure.

``initialize`` names the server and its tools. From 2.1.265 on, the CLI needs nothing
else. An older CLI requests both by ``mcp_message`` and needs an answer. The CLI calls
tools by ``tools/call``, one call after the other. The client runs the tool. The server
answers the call when the client has sent the result.

Source: docs/claude-cli-protocol.md, "Tools".
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from ccproxy.claude.native.prompt import (
    Block,
    ImageBlock,
    PromptTool,
    TextBlock,
    ToolResultBlock,
)
from ccproxy.claude.native.structured_output import TOOL
from ccproxy.claude.protocol.records import ControlRequest, MCPMessage, listed_as
from ccproxy.config.mcp_names import CLIENT_SERVER
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed, InvalidRequest

_INITIALIZED: Mapping[str, object] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": CLIENT_SERVER, "version": "1"},
}


def offer(tools: Sequence[PromptTool]) -> Mapping[str, object]:
    """The fields of ``initialize`` for the tools; empty without tools."""
    if not tools:
        return {}
    manifest = {"initializeResult": _INITIALIZED, "toolsListResult": _listed(tools)}
    return {
        "sdkMcpServers": [CLIENT_SERVER],
        "sdkMcpServerManifests": {CLIENT_SERVER: manifest},
    }


def check_offered(
    names: Collection[str], tools: Sequence[PromptTool], has_own: bool
) -> CCProxyError | None:
    """The error if the CLI offers other tools than the client's; None: no error.

    Args:
        names: the tools that the CLI offers.
        tools: the client's tools.
        has_own: whether the CLI has tools of its own, too.
    """
    # `TOOL` is the CLI's own, for structured output; `NativeTurnDecoder` checks it.
    wanted = {listed_as(tool.name) for tool in tools} - {TOOL}
    left_out = wanted - set(names)
    if left_out:
        # If one tool's schema is invalid, the CLI leaves out all tools.
        return InvalidRequest(
            "`tools`: the claude CLI does not accept the parameters of a tool; they "
            "have to be JSON Schema, draft 2020-12",
            param="tools",
        )
    if set(names) - wanted - {TOOL} and not has_own:
        return ClaudeFailed(
            "the claude CLI offers tools that the client has not sent",
            cause=Cause.UNKNOWN_TOOLS,
        )
    return None


def _listed(tools: Sequence[PromptTool]) -> Mapping[str, object]:
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


class MCPServer:
    """The MCP server of one session.

    Attributes:
        was_listed: whether the CLI has asked for the tools, in spite of the manifest.

    Args:
        send: called with the id of a request and its JSON-RPC answer.
    """

    def __init__(self, send: Callable[[str, Mapping[str, object]], None]) -> None:
        self.was_listed = False
        self._send = send
        self._tools: Sequence[PromptTool] = ()
        self._open_calls: dict[str, tuple[str, object]] = {}
        self._results: dict[str, ToolResultBlock] = {}

    def offer(self, tools: Sequence[PromptTool]) -> None:
        """Set the tools."""
        self._tools = tools

    def receive(self, request: ControlRequest, message: MCPMessage) -> None:
        """Take a message of the CLI; a call waits for its result."""
        if message.method == "tools/call":
            identifier = message.params.meta.tool_use_id
            self._open_calls[identifier] = (request.request_id, message.id or 0)
            self._answer()
            return
        self.was_listed |= message.method == "tools/list"
        # Notifications and pings have an empty result.
        results = {"initialize": _INITIALIZED, "tools/list": _listed(self._tools)}
        self._reply(
            request.request_id, message.id or 0, results.get(message.method, {})
        )

    def give(self, results: Sequence[ToolResultBlock]) -> None:
        """Take results of calls; the CLI may ask for them earlier or later."""
        self._results |= {result.tool_use_id: result for result in results}
        self._answer()

    def _answer(self) -> None:
        for identifier in [*self._open_calls.keys() & self._results.keys()]:
            request_id, number = self._open_calls.pop(identifier)
            self._reply(request_id, number, _encoded(self._results.pop(identifier)))

    def _reply(
        self, request_id: str, number: object, result: Mapping[str, object]
    ) -> None:
        self._send(request_id, {"jsonrpc": "2.0", "id": number, "result": result})


def _encoded(result: ToolResultBlock) -> Mapping[str, object]:
    content = result.content
    blocks: Sequence[Block] = (
        (TextBlock(content),) if isinstance(content, str) else content
    )
    return {"content": [*map(_content, blocks)], "isError": result.is_error}


def _content(block: Block) -> Mapping[str, object]:
    match block:
        case TextBlock(text):
            return {"type": "text", "text": text}
        case ImageBlock(media_type, source) if media_type is not None:
            return {"type": "image", "data": source, "mimeType": media_type}
    raise AssertionError(block)  # `Suspension.results` accepts no other blocks
