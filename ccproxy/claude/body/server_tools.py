"""Adds the provider's own tools that a client of OpenAI's APIs asks for. Pure.

=====================  ==============================================================
``--server-tools``     tool of the request to the provider
=====================  ==============================================================
``web_search``         ``web_search``, if the client asks for web search
``web_fetch``          also ``web_fetch``: OpenAI's search opens pages, too
``code_execution``     no further tool, but the model's code may call both tools, to
                       filter the results. Otherwise only the model itself may
=====================  ==============================================================

The version of a tool is the newest that the model and the provider's host take. If the
operator does not allow web search, or the client has a tool of its own with the same
name, the client's fields are reported.

Source: rule 34 of the Messages API; ``WebSearchTool20250305Param``,
``WebSearchTool20260209Param`` and ``WebFetchTool…Param`` of anthropic-python 2.14.
"""

from collections.abc import Collection

import msgspec

from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.result import Notes
from ccproxy.core.messages import MessagesRequest, Tool, WebSearch

SEARCH, FETCH, CODE = "web_search", "web_fetch", "code_execution"
_NEW_VERSION = "20260209"
_OLD_VERSIONS = {SEARCH: "20250305", FETCH: "20250910"}

_encode = msgspec.json.Encoder().encode


def server_tools(
    request: MessagesRequest,
    rules: ModelRules,
    allowed: Collection[str],
    notes: Notes,
) -> list[Tool]:
    """The tools for the client's wish for web search; empty: there are none.

    Args:
        request: the client's request.
        rules: the rules of the model, and of the provider's host.
        allowed: the operator's ``--server-tools``.
        notes: gets the paths of wishes and settings that have no effect.
    """
    if not request.web_searches:
        return []
    wish, *others = request.web_searches
    for other in others:
        # One search is enough; the settings of the first one count.
        notes.ignore(*other.settings, *other.unsent)
    own = {tool.value.name: tool.value.type for tool in request.tools}
    if own.get(SEARCH, "").startswith(SEARCH):
        # A client of the Messages API has the provider's tool already.
        return []
    if SEARCH not in allowed or SEARCH in own:
        for each in request.web_searches:
            notes.ignore(*each.paths)
        return []
    notes.ignore(*wish.unsent)
    names = [SEARCH]
    if FETCH in allowed and FETCH not in own:
        names.append(FETCH)
    return [_tool(name, wish, rules, allowed) for name in names]


def _tool(
    name: str, wish: WebSearch, rules: ModelRules, allowed: Collection[str]
) -> Tool:
    is_new = rules.has_new_web_search
    version = _NEW_VERSION if is_new else _OLD_VERSIONS[name]
    fields: dict[str, object] = {"type": f"{name}_{version}", "name": name}
    if is_new and CODE not in allowed:
        fields["allowed_callers"] = ["direct"]
    if wish.allowed_domains:
        fields["allowed_domains"] = wish.allowed_domains
    if wish.blocked_domains:
        fields["blocked_domains"] = wish.blocked_domains
    if wish.max_uses is not None:
        fields["max_uses"] = wish.max_uses
    if name == SEARCH and wish.user_location is not None:
        fields["user_location"] = wish.user_location
    return Tool.decode(_encode(fields), wish.at)
