"""The scripted provider signs thinking, and takes it back only where it was."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.provider_rules import Issued, violations
from tests.support.provider_thinking import Signature, prefixes, read_signature, sign
from tests.unit.support.provider_bodies import (
    ADAPTIVE,
    CACHE,
    CALL,
    OFF,
    OLD,
    OPUS,
    RESULT,
    SONNET,
    TEXT,
    TOOL,
    USER,
    assistant,
    body,
    user,
)


def answered(asked: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The next request after an answer that thought, then called a tool."""
    thought = {"type": "thinking", "thinking": "hm", "signature": sign(asked, [])}
    turns = [*asked["messages"], assistant(thought, CALL), user(RESULT)]
    return {**asked, "messages": turns, **changed}


def asked(**fields: Any) -> dict[str, Any]:
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=1;"}
    system = [billing, {"type": "text", "text": "Be brief.", "cache_control": CACHE}]
    return body(system=system, tools=[TOOL], **fields)


def test_thinking_may_come_back_where_it_was() -> None:
    assert violations(answered(asked()), betas=()) == []


def test_the_attribution_and_breakpoints_are_no_part_of_the_prefix() -> None:
    again = answered(asked())
    again["system"] = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2;"},
        {"type": "text", "text": "Be brief."},
    ]
    again["messages"][0] = user({**TEXT, "cache_control": CACHE})
    assert violations(again, betas=()) == []


CHANGES: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "system": lambda b: b["system"].pop(),
    "tools": lambda b: b["tools"].append({**TOOL, "name": "other"}),
    "turn": lambda b: b["messages"].insert(0, USER),
    "moved": lambda b: b["messages"][1]["content"].insert(0, TEXT),
}


@pytest.mark.parametrize("change", CHANGES)
def test_thinking_behind_another_prefix_is_refused(change: str) -> None:
    again = answered(asked())
    again["tools"] = list(again["tools"])
    CHANGES[change](again)
    (found,) = violations(again, betas=())
    assert found.rule == 25
    assert "bound to a different conversation" in found.message
    assert "thinking-binding-controls-2026-08-01" in found.message
    assert violations(again, betas=(), prefix_check=False) == []
    again["thinking"] = {
        **ADAPTIVE,
        "block_binding": {"prefix_mismatch_behavior": "drop_block"},
    }
    assert violations(again, betas=["thinking-binding-controls-2026-08-01"]) == []


def test_later_thinking_is_bound_to_earlier() -> None:
    first = answered(asked())
    thought = {"type": "thinking", "thinking": "so", "signature": sign(first, [])}
    turns = [*first["messages"], assistant(thought, TEXT), USER]
    second = {**first, "messages": turns}
    assert violations(second, betas=()) == []
    turns[1] = assistant(CALL)
    assert [(v.rule, v.path) for v in violations(second, betas=())] == [
        (25, "messages.3.content.0")
    ]


def test_blocks_in_front_within_one_answer() -> None:
    question = asked()
    second = sign(question, [TEXT])
    thought = {"type": "thinking", "thinking": "hm", "signature": second}
    turns = [*question["messages"], assistant(TEXT, thought, CALL), user(RESULT)]
    assert violations({**question, "messages": turns}, betas=()) == []
    places = dict(prefixes({**question, "messages": turns}))
    made = read_signature(second)
    assert made == Signature(SONNET, places["messages.1.content.1"])


def test_older_models_look_at_no_prefix() -> None:
    again = answered(asked(model="claude-opus-5"))
    CHANGES["system"](again)
    assert violations(again, betas=()) == []


def test_thinking_of_another_model_is_dropped_without_a_word() -> None:
    again = answered(asked(model=OPUS), model=SONNET)
    CHANGES["system"](again)
    assert violations(again, betas=()) == []


@pytest.mark.parametrize("signature", ["", "c2lnbmVk", "sig1.short"])
def test_a_signature_that_nobody_made(signature: str) -> None:
    again = answered(asked())
    again["messages"][1]["content"][0]["signature"] = signature
    (found,) = violations(again, betas=())
    assert (found.rule, found.path) == (24, "messages.1.content.0")
    assert "Invalid `signature` in `thinking` block" in found.message


def test_a_signature_that_a_script_gave_out() -> None:
    question = asked()
    again = answered(question)
    again["messages"][1]["content"][0]["signature"] = "c2ln"
    made = read_signature(sign(question, []))
    assert made is not None
    issued = Issued(signatures={"c2ln": [made]})
    assert violations(again, betas=(), issued=issued) == []
    CHANGES["system"](again)
    assert [v.rule for v in violations(again, betas=(), issued=issued)] == [25]


def test_redacted_thinking_is_signed_by_its_data() -> None:
    question = asked()
    again = answered(question)
    again["messages"][1]["content"][0] = {"type": "redacted_thinking", "data": "eA=="}
    assert [v.rule for v in violations(again, betas=())] == [24]
    made = read_signature(sign(question, []))
    assert made is not None
    issued = Issued(signatures={"eA==": [made]})
    assert violations(again, betas=(), issued=issued) == []


def test_thinking_without_a_signature_or_with_a_breakpoint() -> None:
    again = answered(asked())
    thought = again["messages"][1]["content"][0]
    thought["cache_control"] = CACHE
    del thought["signature"]
    assert [v.message for v in violations(again, betas=())] == [
        "messages.1.content.0.thinking.signature: Field required",
        "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted",
    ]


def test_an_answer_may_not_end_with_thinking() -> None:
    again = answered(asked())
    again["messages"][1]["content"].pop()
    again["messages"][2] = USER
    assert [v.rule for v in violations(again, betas=())] == [23]


@pytest.mark.parametrize("off", [None, OFF])
def test_no_thinking_in_the_last_answer_where_it_is_off(off: object) -> None:
    again = answered(asked(model="claude-opus-4-8"), thinking=off)
    if off is None:
        del again["thinking"]
    assert [v.rule for v in violations(again, betas=())] == [22]
    assert violations({**again, "thinking": ADAPTIVE}, betas=()) == []
    # In an answer before the last it may stay.
    again["messages"] += [assistant(TEXT), USER]
    assert violations(again, betas=()) == []


def test_manual_thinking_begins_the_answer_that_called() -> None:
    budget = {"type": "enabled", "budget_tokens": 1024}
    again = answered(asked(model=OLD, max_tokens=2000, thinking=budget))
    assert violations(again, betas=()) == []
    del again["messages"][1]["content"][0]
    (found,) = violations(again, betas=())
    assert found.rule == 21
    assert "but found `tool_use`" in found.message
