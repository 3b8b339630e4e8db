"""The provider's tools that clients of OpenAI's APIs ask for."""

from typing import Any

import pytest
from attrs import evolve

from ccproxy.claude.answer_cache import InMemoryAnswers
from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.body.compose import Composition
from ccproxy.core.blocks import search_copy
from ccproxy.core.messages import Message, WebSearch
from tests.support.composed import (
    HAIKU_4_5,
    OPUS,
    assistant,
    body_of,
    call,
    composed,
    raw_message,
    request,
    result,
    text,
    thought,
    tool,
    user,
)

WISH = WebSearch(at="tools[0]", settings=("tools[0].filters",), unsent=("live",))
DIRECT = {"allowed_callers": ["direct"]}


def ask(
    *wishes: WebSearch, allowed: Any = ("web_search",), **fields: Any
) -> Composition:
    model = fields.pop("model_id", OPUS)
    options = {k: fields.pop(k) for k in ("new_web_search",) if k in fields}
    asked = evolve(request("hi", **fields), web_searches=wishes)
    return composed(asked, model, server_tools=allowed, **options)


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({}, "20260209"),
        ({"model_id": HAIKU_4_5}, "20250305"),
        ({"new_web_search": False}, "20250305"),
    ],
)
def test_the_version_is_the_models_and_the_hosts(
    fields: dict[str, Any], version: str
) -> None:
    composition = ask(WISH, **fields)
    expected = {"type": f"web_search_{version}", "name": "web_search"}
    direct = DIRECT if version == "20260209" else {}
    assert body_of(composition)["tools"] == [{**expected, **direct}]
    assert composition.ignored == ("live",)


def test_all_tools_of_the_operators() -> None:
    wish = evolve(WISH, blocked_domains=("a.example",), max_uses=2)
    place = {"type": "approximate", "city": "Oslo"}
    wish = evolve(wish, user_location=place)
    allowed = ("web_search", "web_fetch", "code_execution")
    composition = ask(wish, WebSearch(at="model"), allowed=allowed)
    common = {"blocked_domains": ["a.example"], "max_uses": 2}
    assert body_of(composition)["tools"] == [
        {
            "type": "web_search_20260209",
            "name": "web_search",
            **common,
            "user_location": place,
        },
        {"type": "web_fetch_20260209", "name": "web_fetch", **common},
    ]


@pytest.mark.parametrize("allowed", [(), ("web_fetch", "code_execution")])
def test_what_is_not_allowed_is_named(allowed: Any) -> None:
    composition = ask(WISH, allowed=allowed)
    assert "tools" not in body_of(composition)
    assert composition.ignored == WISH.paths


def test_a_tool_of_the_clients_takes_its_place() -> None:
    named = ask(WISH, tools=[tool("web_search")])
    assert named.ignored == WISH.paths
    theirs = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
    given = ask(WebSearch(at="model"), tools=[theirs])
    assert given.ignored == ()
    assert body_of(given)["tools"] == [theirs]


def test_it_is_no_ban_of_calls_that_history_has_some() -> None:
    turns = [user("go"), assistant(call("a")), user(result("a"))]
    asked = evolve(request(turns), web_searches=(WISH,))
    sent = body_of(composed(asked, server_tools=("web_search",)))
    assert [each["name"] for each in sent["tools"]] == ["web_search"]
    assert "tool_choice" not in sent


SEARCHED = [
    thought("hm", "s1"),
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}},
    {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
    text("\n"),
    text("It is so."),
]


@pytest.mark.parametrize("thinks", [True, False])
def test_what_was_found_goes_back_whether_the_model_thinks_or_not(
    thinks: bool,
) -> None:
    memory = RememberedAnswers(InMemoryAnswers(1_000_000, 3600.0))
    model = "claude-opus-5"
    thinking = {} if thinks else {"thinking": {"type": "disabled"}}
    first = composed(request("hi", **thinking), model)
    made = raw_message("assistant", SEARCHED).blocks
    memory.remember("ann", first.prefix, made, model, 0.0)
    copied = Message("assistant", (search_copy("m[1]"),), "m[1]")
    said = Message("assistant", "\nIt is so.", "m[2]")
    more = request([user("hi"), user("more")], **thinking)
    asked = evolve(more, messages=(more.messages[0], copied, said, more.messages[1]))
    again = composed(asked, model, remembered=memory.of("ann", 1.0))
    assert again.ignored == ()
    # The provider refuses blank text.
    expected = [SEARCHED[1], SEARCHED[2], SEARCHED[4]]
    sent = body_of(again)["messages"][1]["content"]
    assert sent == ([SEARCHED[0], *expected] if thinks else expected)
    # It is not remembered for others.
    other = composed(asked, model, remembered=memory.of("bob", 1.0))
    assert other.ignored == ("m[1]",)
    assert "ccproxy" not in other.body.json.decode()
