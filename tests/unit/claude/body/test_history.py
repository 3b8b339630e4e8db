"""Remembered answers and the client's thinking, by the conversation before them."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve

from ccproxy.claude.answer_cache import InMemoryAnswers
from ccproxy.claude.answers import RememberedAnswers
from ccproxy.claude.body.compose import Composition
from ccproxy.core.blocks import Block
from ccproxy.core.messages import MessagesRequest
from tests.support.composed import (
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

OPUS_5, HAIKU_5_5 = "claude-opus-5", "claude-haiku-5-5"
ASKED = [user("What is in a.txt?")]
MADE = [
    thought("first", "s1"),
    text("I look."),
    thought("second", "s2"),
    {**call("toolu_01A"), "input": {"path": "a.txt", "n": 1}},
]


def _blocks(content: Sequence[dict[str, Any]]) -> tuple[Block, ...]:
    return raw_message("assistant", list(content)).blocks


def _memory() -> RememberedAnswers:
    return RememberedAnswers(InMemoryAnswers(1_000_000, 3600.0))


def _ask(
    messages: Sequence[dict[str, Any]],
    memory: RememberedAnswers,
    model_id: str = OPUS,
    owner: str = "ann",
    **fields: Any,
) -> Composition:
    asked = request(list(messages), **{"tools": [tool()], **fields})
    return composed(asked, model_id, remembered=memory.of(owner, 1.0))


def _remember(
    memory: RememberedAnswers,
    composition: Composition,
    content: Sequence[dict[str, Any]] = MADE,
    owner: str = "ann",
) -> None:
    memory.remember(
        owner, composition.prefix, _blocks(content), composition.model_id, 0.0
    )


def _told(composition: Composition, number: int) -> Any:
    return body_of(composition)["messages"][number]


def _copy(
    identifier: str = "toolu_01A", said: str = "I look.", **arguments: Any
) -> Any:
    arguments = arguments or {"n": 1, "path": "a.txt"}
    return assistant(said, call(identifier, **arguments))


def test_a_remembered_answer_is_sent_as_the_model_made_it() -> None:
    memory = _memory()
    _remember(memory, _ask(ASKED, memory))
    # Some clients change ids, the order of arguments, or join texts.
    for identifier in ("toolu_01A", "toolu01A", "call_0"):
        told = [*ASKED, _copy(identifier), user(result(identifier))]
        composition = _ask(told, memory)
        assert _told(composition, 1) == assistant(*MADE)
        assert _told(composition, 2)["content"][0]["tool_use_id"] == "toolu_01A"
        assert composition.adjusted == composition.ignored == ()


def test_the_second_step_of_a_loop_restores_both_answers() -> None:
    memory = _memory()
    _remember(memory, _ask(ASKED, memory))
    first = [*ASKED, _copy("1"), user(result("1"))]
    second_made = [thought("third", "s3"), call("toolu_02B", path="b.txt")]
    _remember(memory, _ask(first, memory), second_made)
    told = [*first, assistant(call("1", path="b.txt")), user(result("1"))]
    composition = _ask(told, memory)
    assert _told(composition, 1) == assistant(*MADE)
    assert _told(composition, 3) == assistant(*second_made)
    assert _told(composition, 4)["content"][0]["tool_use_id"] == "toolu_02B"


def test_several_messages_of_the_client_are_one_remembered_answer() -> None:
    memory = _memory()
    _remember(memory, _ask(ASKED, memory))
    split = [assistant("I look."), assistant(_copy("x")["content"][1])]
    composition = _ask([*ASKED, *split, user(result("x"))], memory)
    assert _told(composition, 1) == assistant(*MADE)
    assert len(body_of(composition)["messages"]) == 3


@pytest.mark.parametrize(
    "copy",
    [
        _copy(said="I look elsewhere."),
        _copy(path="b.txt", n=1),
        assistant("I look.", call("toolu_01A", "other", path="a.txt", n=1)),
        assistant("I look.", _copy()["content"][1], call("b", path="a.txt")),
    ],
)
def test_a_message_that_differs_from_the_answer_is_kept(copy: Any) -> None:
    memory = _memory()
    _remember(memory, _ask(ASKED, memory))
    results = [result(b["id"]) for b in copy["content"] if "id" in b]
    tools = [tool(), tool("other")]
    memory_of_two = _ask([*ASKED], memory, tools=tools)
    _remember(memory, memory_of_two)
    composition = _ask([*ASKED, copy, user(*results)], memory, tools=tools)
    assert _told(composition, 1) == copy


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "another"},
        {"tools": [tool(description="new")]},
        {"owner": "bob"},
        {"model_id": HAIKU_5_5},
        {"messages": [user("What is in a.txt? Quick!")]},
    ],
)
def test_no_answer_is_restored_behind_another_prefix(changes: dict[str, Any]) -> None:
    memory = _memory()
    _remember(memory, _ask(ASKED, memory))
    start = changes.pop("messages", ASKED)
    told = [*start, _copy(), user(result("toolu_01A"))]
    assert _told(_ask(told, memory, **changes), 1) == _copy()


def test_no_answer_is_restored_after_one_that_differs() -> None:
    memory = _memory()
    _remember(memory, _ask(ASKED, memory))
    first = [*ASKED, _copy(), user(result("toolu_01A"))]
    _remember(memory, _ask(first, memory), [thought("t", "s3"), text("Done.")])
    longer = [*first, assistant("Done."), user("And b.txt?")]
    assert "s3" in str(_told(_ask(longer, memory), 3))
    changed = [user("What was in a.txt?"), *longer[1:]]
    composition = _ask(changed, memory)
    assert "signature" not in composition.body.json.decode()


def test_for_an_older_model_an_answer_is_found_by_its_calls() -> None:
    memory = _memory()
    _remember(memory, _ask([*ASKED, user("context")], memory, OPUS_5))
    # The context is taken away and appended anew.
    told = [*ASKED, _copy("toolu01A"), user(result("toolu01A")), user("context")]
    assert _told(_ask(told, memory, OPUS_5), 1) == assistant(*MADE)
    assert _told(_ask(told, memory, OPUS_5, owner="bob"), 1) != assistant(*MADE)


def test_the_prefix_ignores_breakpoints_and_the_shape_of_a_text() -> None:
    memory = _memory()
    marked = [user(text("What is in a.txt?", cache_control={"type": "ephemeral"}))]
    _remember(memory, _ask(marked, memory))
    told = [*ASKED, _copy(), user(result("toolu_01A"))]
    assert _told(_ask(told, memory), 1) == assistant(*MADE)


def test_another_login_finds_no_answer() -> None:
    memory = _memory()
    _remember(memory, _ask(ASKED, memory))
    memory.account = "somebody@example.com"
    told = [*ASKED, _copy(), user(result("toolu_01A"))]
    assert _told(_ask(told, memory), 1) == _copy()


def test_no_answer_is_restored_where_thinking_is_off() -> None:
    memory = _memory()
    off: dict[str, Any] = {"thinking": {"type": "disabled"}}
    _remember(memory, _ask(ASKED, memory, OPUS_5, **off))
    told = [*ASKED, _copy(), user(result("toolu_01A"))]
    assert _told(_ask(told, memory, OPUS_5, **off), 1) == _copy()


def test_without_thinking_has_no_thinking_in_its_turns() -> None:
    memory = _memory()
    _remember(memory, _ask(ASKED, memory))
    plain = _ask([*ASKED, _copy(), user(result("toolu_01A"))], memory).without_refused(
        "bound to a different conversation"
    )
    assert plain is not None
    assert _told(plain, 1) == _copy()


TALK = [user("a"), assistant(thought(), "b"), user("c"), assistant(thought(), "d")]


def _sealed(**fields: Any) -> MessagesRequest:
    two = [dict(m) for m in TALK]
    two[3] = assistant(thought(signature="c2lnMg=="), "d")
    return evolve(request([*two, user("e")]), **fields)


def _kept(composition: Composition) -> list[str]:
    return [
        block["signature"]
        for message in body_of(composition)["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if "signature" in block
    ]


def test_thinking_of_unknown_origin_is_sent() -> None:
    assert _kept(composed(_sealed())) == ["c2ln", "c2lnMg=="]


def test_thinking_of_another_model_is_left_out() -> None:
    models = {
        "c2ln": "claude-haiku-4-5-20251001",
        "c2lnMg==": "claude-opus-5-5-20260901",
    }
    composition = composed(_sealed(thinking_models=models))
    assert _kept(composition) == ["c2lnMg=="]
    assert composition.ignored == ("messages[1].content[0]",)


def test_encrypted_thinking_is_sent_behind_its_own_prefix() -> None:
    first = composed(request(TALK[:1])).prefix
    second = composed(request(TALK[:3])).prefix
    prefixes = {"c2ln": first, "c2lnMg==": second}
    assert _kept(composed(_sealed(thinking_prefixes=prefixes))) == ["c2ln", "c2lnMg=="]


def test_encrypted_thinking_behind_another_prefix_is_left_out_with_all_later() -> None:
    second = composed(request(TALK[:3])).prefix
    for prefixes in ({"c2ln": "0" * 32, "c2lnMg==": second}, {"c2ln": "0" * 32}):
        asked = _sealed(thinking_prefixes=prefixes)
        composition = composed(asked)
        assert _kept(composition) == []
        assert composition.ignored == (
            "messages[1].content[0]",
            "messages[3].content[0]",
        )
        # An older model does not mind.
        asked = evolve(
            asked, thinking=request("x", thinking={"type": "adaptive"}).thinking
        )
        assert _kept(composed(asked, OPUS_5)) == ["c2ln", "c2lnMg=="]


@pytest.mark.parametrize(
    "before",
    [call("a b"), call("a", "functions.look"), {**call("a"), "input": [1]}, text(" ")],
)
def test_thinking_behind_a_block_that_was_changed(before: dict[str, Any]) -> None:
    """The models that check what stands before their thinking would refuse it."""
    said = [before, thought(), call("c")]
    results = [result(b["id"]) for b in said if b["type"] == "tool_use"]
    told = [user("hi"), assistant(*said), user(*results)]
    adaptive = {"type": "adaptive"}
    for model, is_sent in ((OPUS, False), (OPUS_5, True)):
        composition = composed(request(told, thinking=adaptive), model)
        blocks = body_of(composition)["messages"][1]["content"]
        assert (thought() in blocks) is is_sent
        assert ("messages[1].content[1]" in composition.ignored) is not is_sent
