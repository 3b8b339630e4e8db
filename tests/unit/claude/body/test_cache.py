"""Breakpoints of the prompt cache."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccproxy.claude.body.compose import Composition
from ccproxy.core.messages import CacheWish
from tests.support.composed import (
    BETAS,
    assistant,
    body_of,
    call,
    composed,
    request,
    result,
    text,
    thought,
    tool,
    translated,
    upstream,
    user,
)
from tests.support.messages_requests import ALIASES, messages_requests
from tests.support.provider_rules import violations

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

SHORT: dict[str, Any] = {"type": "ephemeral"}
LONG: dict[str, Any] = {"type": "ephemeral", "ttl": "1h"}


def _marked(said: str, marker: Any = SHORT) -> dict[str, Any]:
    return text(said, cache_control=marker)


def _markers(composition: Composition) -> dict[str, Any]:
    """Each breakpoint by its place."""
    body = body_of(composition)
    found = {
        f"tools.{n}": t["cache_control"]
        for n, t in enumerate(body.get("tools", []))
        if "cache_control" in t
    }
    for number, message in enumerate(body["messages"]):
        if isinstance(message["content"], list):
            for index, block in enumerate(message["content"]):
                if "cache_control" in block:
                    found[f"{number}.{index}"] = block["cache_control"]
    return found


def test_without_a_breakpoint_of_the_client_both_questions_have_one() -> None:
    composition = composed(request([user("a"), assistant("b"), user("c", "d")]))
    assert _markers(composition) == {"0.0": SHORT, "2.1": SHORT}
    assert composition.adjusted == ()
    assert composition.body.cache_ttl is None


def test_a_text_becomes_a_block_with_the_breakpoint() -> None:
    composition = composed(request("hi"))
    assert body_of(composition)["messages"][0]["content"] == [_marked("hi")]


def test_the_breakpoint_is_on_the_result_not_in_it() -> None:
    told = [user("hi"), assistant(call("a")), user(result("a", [text("seen")]))]
    found = _markers(composed(request(told, tools=[tool()])))
    assert found == {"0.0": SHORT, "2.0": SHORT}


def test_the_clients_last_two_breakpoints_are_kept() -> None:
    told = [
        user(_marked("a")),
        assistant(_marked("b")),
        user(_marked("c"), "d", _marked("e")),
    ]
    marked = tool(cache_control=SHORT)
    composition = composed(request(told, tools=[marked], system="Be brief."))
    assert _markers(composition) == {"2.0": SHORT, "2.2": SHORT}
    assert composition.adjusted == (
        "tools[0].cache_control",
        "messages[0].content[0].cache_control",
        "messages[1].content[0].cache_control",
    )
    assert composition.body.cache_ttl == "5m"


def test_without_a_system_prompt_the_clients_last_three_are_kept() -> None:
    told = [user(_marked("a"), _marked("b")), assistant("c"), user(_marked("d"))]
    composition = composed(request(told, tools=[tool(cache_control=SHORT)]))
    assert _markers(composition) == {"0.0": SHORT, "0.1": SHORT, "2.0": SHORT}
    assert composition.adjusted == ("tools[0].cache_control",)


def test_two_breakpoints_of_the_client_are_unchanged() -> None:
    told = [user("a"), assistant("b"), user(_marked("c"), "d")]
    composition = composed(request(told, tools=[tool(cache_control=SHORT)]))
    assert _markers(composition) == {"tools.0": SHORT, "2.0": SHORT}
    assert composition.adjusted == ()


def test_all_breakpoints_have_one_time_to_live() -> None:
    told = [user(_marked("a", LONG)), assistant("b"), user(_marked("c"))]
    composition = composed(request(told))
    assert _markers(composition) == {"0.0": LONG, "2.0": LONG}
    assert composition.body.cache_ttl == "1h"
    assert composition.adjusted == ("messages[2].content[0].cache_control",)


@pytest.mark.parametrize(("ttl", "marker"), [("1h", LONG), ("5m", SHORT)])
def test_the_proxys_breakpoint_has_the_operators_time_to_live(
    ttl: Any, marker: Any
) -> None:
    composition = composed(request("hi"), cache_ttl=ttl)
    assert _markers(composition) == {"0.0": marker}
    assert composition.body.cache_ttl == ttl
    # The client's word goes before.
    composition = composed(request([user(_marked("hi"))]), cache_ttl=ttl)
    assert _markers(composition) == {"0.0": SHORT}
    assert composition.body.cache_ttl == "5m"


def test_a_top_level_cache_control_marks_the_last_block() -> None:
    told = [user("a", _marked("b")), assistant("c"), user(_marked("d"), "e")]
    composition = composed(request(told, cache_control=LONG, system="Be brief."))
    assert _markers(composition) == {"2.0": LONG, "2.1": LONG}
    assert "cache_control" not in body_of(composition)
    assert composition.adjusted == (
        "cache_control",
        "messages[0].content[1].cache_control",
        "messages[2].content[0].cache_control",
    )


def test_null_is_no_breakpoint() -> None:
    composition = composed(request([user(_marked("a", None), "b")]))
    assert _markers(composition) == {"0.0": None, "0.1": SHORT}


def test_a_deferred_tool_has_no_breakpoint() -> None:
    deferred = tool("later", defer_loading=True, cache_control=SHORT)
    composition = composed(request("hi", tools=[tool(), deferred]))
    assert "tools.1" not in _markers(composition)
    assert composition.adjusted == ("tools[1].cache_control",)


def test_no_breakpoint_is_on_thinking_or_after_the_clients_turns() -> None:
    told = [user("hi"), assistant("b", thought()), user("c")]
    assert _markers(composed(request(told))) == {"0.0": SHORT, "2.0": SHORT}


def test_a_breakpoint_in_a_result_is_moved_to_the_result() -> None:
    parts = [text("a", cache_control=LONG), text("b")]
    told = [user("hi"), assistant(call("a")), user(result("a", parts))]
    composition = composed(request(told, tools=[tool()]))
    assert _markers(composition) == {"2.0": LONG}
    assert composition.adjusted == ("messages[2].content[0].content[0].cache_control",)


def _document(*parts: Any, **fields: Any) -> dict[str, Any]:
    source = {"type": "content", "content": list(parts)}
    return {"type": "document", "source": source, **fields}


def _found(*parts: Any, **fields: Any) -> dict[str, Any]:
    about = {"source": "https://x.y", "title": "x", **fields}
    return {"type": "search_result", "content": list(parts), **about}


@pytest.mark.parametrize(
    ("block", "path"),
    [
        (_document, "source.content"),
        (_found, "content"),
    ],
)
def test_a_breakpoint_within_a_block_is_moved_to_the_block(
    block: Any, path: str
) -> None:
    given = [block(_marked("a", LONG), text("b")), block(_marked("c", LONG))]
    composition = composed(request([user(*given, "d")]))
    assert _markers(composition) == {"0.0": LONG, "0.1": LONG}
    sent = body_of(composition)["messages"][0]["content"]
    assert [{**each, "cache_control": LONG} for each in (block(text("c")),)] == sent[
        1:2
    ]
    at = f"messages[0].content[{{}}].{path}[0].cache_control"
    assert composition.adjusted == (at.format(0), at.format(1))


def test_breakpoints_within_blocks_count_as_breakpoints() -> None:
    many = [_document(_marked("a"), _marked("b")), _found(_marked("c")), _marked("d")]
    composition = composed(request([user(*many)], system="Be brief."))
    assert _markers(composition) == {"0.1": SHORT, "0.2": SHORT}
    assert composition.adjusted == (
        "messages[0].content[0].source.content[0].cache_control",
        "messages[0].content[0].source.content[1].cache_control",
        "messages[0].content[1].content[0].cache_control",
    )
    assert "cache_control" not in str(body_of(composition)["messages"][0]["content"][0])


def test_the_blocks_own_breakpoint_counts_before_one_within() -> None:
    given = _document(_marked("a", LONG), cache_control=SHORT)
    composition = composed(request([user(given)]))
    assert _markers(composition) == {"0.0": SHORT}


@pytest.mark.parametrize("block", [_document, _found])
def test_a_breakpoint_deep_within_a_result_is_moved_to_the_result(block: Any) -> None:
    parts = [block(_marked("a", LONG)), block(text("b"), cache_control=None)]
    told = [user("hi"), assistant(call("a")), user(result("a", parts))]
    composition = composed(request(told, tools=[tool()]))
    assert _markers(composition) == {"2.0": LONG}
    [sent] = body_of(composition)["messages"][2]["content"]
    assert sent["content"] == [block(text("a")), parts[1]]
    [named] = composition.adjusted
    assert named.startswith("messages[2].content[0].content[0].")
    assert named.endswith("content[0].cache_control")


def test_the_previous_question_has_one_however_many_turns_the_answer_has() -> None:
    many = [call(f"c{n}") for n in range(15)]
    results = [result(f"c{n}") for n in range(15)]
    asked = [user("a"), assistant("b"), user("q", "r")]
    answered = [*asked, assistant("first"), assistant(*many), user(*results)]
    assert _markers(composed(request(asked))) == {"0.0": SHORT, "2.1": SHORT}
    composition = composed(request(answered, tools=[tool()]))
    assert _markers(composition) == {"2.1": SHORT, "5.14": SHORT}


@settings(max_examples=100, deadline=None, suppress_health_check=_SLOW)
@given(
    messages_requests(breakpoints=6),
    st.sampled_from([None, SHORT, LONG]),
    st.sampled_from([None, "5m", "1h"]),
)
def test_no_rule_of_the_cache_is_broken(
    body: dict[str, Any], top: dict[str, Any] | None, ttl: Any
) -> None:
    model_id = ALIASES.get(body["model"], body["model"])
    fields = body if top is None else {**body, "cache_control": top}
    asked = request(**fields)
    composition = composed(asked, model_id, effort=asked.effort, cache_ttl=ttl)
    sent = upstream(composition.body, model_id)
    assert violations(sent, betas=BETAS) == []
    markers = _markers(composition).values()
    assert 1 <= len(markers) <= 4 - (1 + bool(composition.body.system))


def test_an_invalid_breakpoint_is_replaced() -> None:
    composition = composed(
        request([user(_marked("a", {"type": "ephemeral", "ttl": 5}))])
    )
    assert _markers(composition) == {"0.0": SHORT}


def _wished(messages: list[dict[str, Any]], wish: CacheWish, **options: Any) -> Any:
    asked = evolve(translated(messages, system="Be brief."), cache=wish)
    return composed(asked, **options)


MARKED_FIRST = [user(_marked("a"), "b"), assistant("c"), user("d")]
MODE = "prompt_cache_options.mode"


def test_an_implicit_breakpoint_is_set_beside_the_clients() -> None:
    found = _wished(MARKED_FIRST, CacheWish(mode="implicit"))
    assert _markers(found) == {"0.0": SHORT, "2.0": SHORT}
    assert found.adjusted == ()


def test_an_implicit_breakpoint_without_room_is_named() -> None:
    told = [user(_marked("a"), _marked("b")), assistant("c"), user("d")]
    found = _wished(told, CacheWish(mode="implicit", paths=(MODE,)))
    assert _markers(found) == {"0.0": SHORT, "0.1": SHORT}
    assert found.adjusted == (MODE,)
    assert _wished(told, CacheWish(mode="implicit")).adjusted == ()


def test_explicit_breakpoints_are_the_clients_only() -> None:
    explicit = CacheWish(mode="explicit")
    assert _markers(_wished([user("a"), assistant("b"), user("c")], explicit)) == {}
    assert _markers(_wished(MARKED_FIRST, explicit)) == {"0.0": SHORT}


def test_a_wished_time_to_live_holds_for_all() -> None:
    found = _wished([user("a")], CacheWish(ttl="1h"), cache_ttl="5m")
    assert _markers(found) == {"0.0": LONG}
    assert found.body.cache_ttl == "1h"
