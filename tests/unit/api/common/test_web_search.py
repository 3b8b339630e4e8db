"""Wishes for web search in OpenAI's APIs."""

import json
from typing import Any

import pytest

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.core.messages import WebSearch

PLACE = {"type": "approximate", "city": "Oslo", "region": None}
OSLO = {"type": "approximate", "city": "Oslo"}


def chat(**fields: Any) -> Any:
    messages = [{"role": "user", "content": "hi"}]
    return decode_chat(json.dumps({"messages": messages, **fields}).encode())


def responses(**fields: Any) -> Any:
    return decode_responses(json.dumps({"input": "hi", **fields}).encode())


def wishes(call: Any) -> tuple[WebSearch, ...]:
    found: tuple[WebSearch, ...] = call.request.web_searches
    return found


@pytest.mark.parametrize("decoded", [chat, responses])
@pytest.mark.parametrize("kind", ["web_search", "web_search_preview_2025_03_11"])
def test_a_tool(decoded: Any, kind: str) -> None:
    filters = {"allowed_domains": ["a.example"]}
    tool = {"type": kind, "filters": filters, "user_location": PLACE, "max_uses": 2}
    assert wishes(decoded(tools=[{**tool, "search_context_size": "low"}])) == (
        WebSearch(
            at="tools[0]",
            allowed_domains=("a.example",),
            user_location=OSLO,
            max_uses=2,
            settings=tuple(
                f"tools[0].{n}" for n in ("filters", "user_location", "max_uses")
            ),
        ),
    )


def test_a_tool_of_the_messages_api_in_chat_completions() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search"}
    [wish] = wishes(chat(tools=[{**tool, "blocked_domains": ["a.example"]}]))
    assert wish.blocked_domains == ("a.example",)


def test_options_of_chat_completions() -> None:
    place = {"type": "approximate", "approximate": {"city": "Oslo"}}
    call = chat(
        web_search_options={"user_location": place, "search_context_size": "low"}
    )
    [wish] = wishes(call)
    assert (wish.at, wish.user_location) == ("web_search_options", OSLO)
    assert call.ignored == ("web_search_options.search_context_size",)


def test_allowed_and_blocked_domains_exclude_each_other() -> None:
    filters = {"allowed_domains": ["a"], "blocked_domains": ["b"]}
    [wish] = wishes(responses(tools=[{"type": "web_search", "filters": filters}]))
    assert (wish.allowed_domains, wish.blocked_domains) == (("a",), ())
    assert wish.unsent == ("tools[0].filters.blocked_domains",)


def test_the_number_of_calls() -> None:
    tools = [{"type": "web_search"}]
    [wish] = wishes(responses(tools=tools, max_tool_calls=3))
    assert (wish.max_uses, wish.settings) == (3, ("max_tool_calls",))
    # It limits nothing else.
    assert responses(max_tool_calls=3).ignored == ("max_tool_calls",)


@pytest.mark.parametrize("decoded", [chat, responses])
def test_no_search_where_no_tool_may_be_called(decoded: Any) -> None:
    assert wishes(decoded(tools=[{"type": "web_search"}], tool_choice="none")) == ()


@pytest.mark.parametrize("decoded", [chat, responses])
def test_a_function_of_that_name_is_renamed_and_back(decoded: Any) -> None:
    own = {"type": "function", "name": "web_search", "parameters": {"type": "object"}}
    call = decoded(tools=[own, {"type": "web_search"}])
    table = call.tools if decoded is responses else call.call_format.tools
    [tool] = call.request.tools
    assert tool.value.name not in ("web_search", "web_fetch")
    assert table.identity(tool.value.name).name == "web_search"
    assert call.adjusted == ("tools[0].name",)
    # Alone it keeps its name.
    [alone] = decoded(tools=[own]).request.tools
    assert alone.value.name == "web_search"
