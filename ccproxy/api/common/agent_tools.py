"""What Claude Code does with tools of its own, in words for a client. Pure."""

import msgspec

from ccproxy.core.stream import AgentToolUsed

_WEB_SEARCH = "WebSearch"


class _Search(msgspec.Struct):
    query: str


_decode_search = msgspec.json.Decoder(_Search).decode


def agent_line(use: AgentToolUsed) -> str:
    """One line that says what was done."""
    return f"[{use.name} {use.arguments}]\n"


def searched(use: AgentToolUsed) -> str | None:
    """What was searched for in the web; None: it was no search."""
    if use.name != _WEB_SEARCH:
        return None
    try:
        return _decode_search(use.arguments).query
    except msgspec.DecodeError:
        return None
