"""How clients are shown the tools that Claude Code has run by itself. Pure."""

import msgspec

from ccproxy.core.stream import AgentToolUsed

_WEB_SEARCH = "WebSearch"


class _Search(msgspec.Struct):
    query: str


_decode_search = msgspec.json.Decoder(_Search).decode


def agent_line(use: AgentToolUsed) -> str:
    """A line of text with the tool and its arguments."""
    return f"[{use.name} {use.arguments}]\n"


def searched(use: AgentToolUsed) -> str | None:
    """The query of a web search; None: the tool is not the web search."""
    if use.name != _WEB_SEARCH:
        return None
    try:
        return _decode_search(use.arguments).query
    except msgspec.DecodeError:
        return None
