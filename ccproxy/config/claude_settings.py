"""The options of `ccproxy.claude`: the CLI and its processes."""

from pathlib import Path

from attrs import frozen

from ccproxy.config.limits import PoolLimits, SuspensionLimits, TurnTimeouts
from ccproxy.config.options import Group, option
from ccproxy.config.parsers import (
    choice,
    duration_or_none,
    names,
    positive,
    some_of,
    switch,
)

# The tool of Claude Code for the web search of OpenAI's APIs.
_WEB_SEARCH = "WebSearch"


@frozen(kw_only=True, slots=False)
class NativeSettings(SuspensionLimits):
    """Settings of requests that the CLI composes itself (``--compose native``)."""

    agent_tools: tuple[str, ...] = option(
        group=Group.PROCESSES,
        metavar="NAMES",
        parse=names,
        unset=(),
        default_text="none",
        help="tools of Claude Code that the model may use on this machine, separated "
        "by commas, for example Read,WebSearch; mcp__SERVER or "
        "mcp__SERVER__TOOL names tools of a server in --mcp-config",
    )
    mcp_config: Path | None = option(
        group=Group.PROCESSES,
        metavar="FILE",
        parse=Path,
        help="a file with MCP servers in Claude Code's format: "
        '{"mcpServers": {...}}; the model may use the tools that --agent-tools names',
    )
    show_agent_tools: bool = option(
        group=Group.PROCESSES,
        parse=switch,
        help="show in the reasoning of an answer which tools of --agent-tools the "
        "model has used, and for what",
    )
    forward_sampling: bool = option(
        group=Group.MODEL,
        parse=switch,
        help="send the client's temperature, top_p and top_k to the provider, whose "
        "current models may refuse them; otherwise they are left out",
    )
    forward_tool_choice: bool = option(
        group=Group.MODEL,
        parse=switch,
        help="demand tool calls with the Messages API's tool_choice, which current "
        "models may refuse; otherwise a text in the conversation asks for them",
    )

    @property
    def has_web_search(self) -> bool:
        """Whether the model may use Claude Code's own web search."""
        return _WEB_SEARCH in self.agent_tools


@frozen(kw_only=True, slots=False)
class ClaudeSettings(PoolLimits, NativeSettings, TurnTimeouts):
    """Settings of the CLI and of all its processes."""

    compose: str = option(
        group=Group.PROCESSES,
        metavar="HOW",
        parse=choice("auto", "body", "native"),
        default="auto",
        help="how a request reaches the model: body: ccproxy composes the request, and "
        "any CLI process sends it; native: the CLI composes the request from the "
        "conversation, in a process of its own; auto: body if the CLI supports it; "
        "with --agent-tools it is always native",
    )
    cache_ttl: str | None = option(
        group=Group.MODEL,
        metavar="TTL",
        parse=choice("5m", "1h"),
        default_text="1h with a subscription, 5m with an API key",
        help="how long the provider's prompt cache keeps a conversation after its last "
        "request, unless the client says so: 5m, written at 1.25 times the price of "
        "input tokens, or 1h, written at twice the price",
    )
    cache_wait: float = option(
        group=Group.MODEL,
        metavar="TIME",
        parse=duration_or_none,
        default="5s",
        help="how long a request waits for an earlier request of the same client that "
        "begins alike, so that the provider reads the beginning from its prompt cache; "
        "0: no request waits",
    )
    server_tools: tuple[str, ...] = option(
        group=Group.MODEL,
        metavar="NAMES",
        parse=some_of("web_search", "web_fetch", "code_execution"),
        unset=(),
        default_text="none",
        help="tools of the provider that clients of OpenAI's APIs may use by asking "
        "for web search, separated by commas: web_search; web_fetch: opens pages, too; "
        "code_execution: filters the results with code. The provider bills each search",
    )
    max_processes: int | None = option(
        group=Group.PROCESSES,
        metavar="N",
        parse=positive,
        default_text="as many as fit in half of the memory, at most 8",
        help="CLI processes at one time; each takes 110 to 200 MB, and further "
        "requests wait",
    )
