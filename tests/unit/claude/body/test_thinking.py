"""The ``thinking`` that is sent, and thinking in the history."""

from typing import Any

import pytest

from tests.support.composed import (
    HAIKU_4_5,
    OPUS,
    SONNET_5,
    assistant,
    body_of,
    call,
    composed,
    request,
    result,
    thought,
    tool,
    translated,
    user,
)

OPUS_5, OPUS_4_8, OPUS_4_6 = "claude-opus-5", "claude-opus-4-8", "claude-opus-4-6"
SONNET_5_5, HAIKU_5_5 = "claude-sonnet-5-5", "claude-haiku-5-5"
OLD = "claude-3-5-haiku-20241022"


def _thinking(
    model_id: str, wanted: dict[str, Any] | None, *, cli: bool = False, **fields: Any
) -> Any:
    make = translated if cli else request
    asked = make("hi", **({} if wanted is None else {"thinking": wanted}), **fields)
    return body_of(composed(asked, model_id)).get("thinking")


@pytest.mark.parametrize("model_id", [OPUS, SONNET_5_5, OPUS_4_8, OPUS_4_6, "", OLD])
def test_without_thinking_another_api_gets_the_clis_default(model_id: str) -> None:
    assert _thinking(model_id, None, cli=True, max_tokens=500) is None


@pytest.mark.parametrize(
    ("model_id", "sent"),
    [
        (OPUS, {"type": "adaptive"}),
        (SONNET_5, {"type": "adaptive"}),
        (OPUS_4_8, {"type": "disabled"}),
        (OPUS_4_6, {"type": "disabled"}),
        (HAIKU_4_5, {"type": "disabled"}),
        (OLD, None),
    ],
)
def test_without_thinking_the_messages_api_has_its_default(
    model_id: str, sent: Any
) -> None:
    assert _thinking(model_id, None) == sent


@pytest.mark.parametrize(
    ("model_id", "wanted", "sent"),
    [
        (OPUS, "adaptive", "adaptive"),
        (HAIKU_4_5, "adaptive", "enabled"),
        (OPUS, "disabled", "adaptive"),
        (OPUS_5, "disabled", "disabled"),
        (HAIKU_5_5, "disabled", "disabled"),
        (SONNET_5_5, "disabled", "between_tools"),
        (SONNET_5_5, "between_tools", "between_tools"),
        (OPUS_5, "between_tools", "disabled"),
        (OPUS, "between_tools", "adaptive"),
        (OPUS_4_6, "adaptive", "adaptive"),
        ("", "disabled", "adaptive"),
    ],
)
def test_the_nearest_form_is_sent_and_reported(
    model_id: str, wanted: str, sent: str
) -> None:
    composition = composed(request("hi", thinking={"type": wanted}), model_id)
    assert body_of(composition)["thinking"]["type"] == sent
    named = [path for path in composition.adjusted if path == "thinking"]
    assert bool(named) is (wanted != sent)


def test_an_old_model_does_not_think() -> None:
    asked = request("hi", thinking={"type": "adaptive"})
    composition = composed(asked, OLD)
    assert "thinking" not in body_of(composition)
    assert composition.ignored == ("thinking",)


def test_manual_thinking_is_sent_unchanged() -> None:
    wanted = {"type": "enabled", "budget_tokens": 2000}
    for model_id in (HAIKU_4_5, OPUS_4_6):
        asked = request("hi", thinking=wanted, max_tokens=4000)
        composition = composed(asked, model_id)
        assert body_of(composition)["thinking"] == wanted
        assert composition.adjusted == ()


def test_manual_thinking_becomes_adaptive_for_models_without_it() -> None:
    wanted = {"type": "enabled", "budget_tokens": 2000}
    composition = composed(request("hi", thinking=wanted, max_tokens=4000), OPUS)
    # Whoever asks for thinking this way expects to read it.
    assert body_of(composition)["thinking"] == {
        "type": "adaptive",
        "display": "summarized",
    }
    assert composition.adjusted == ("thinking",)


@pytest.mark.parametrize(
    ("max_tokens", "budget", "sent"),
    [
        (4000, 4000, {"type": "enabled", "budget_tokens": 3999}),
        (4000, 10, {"type": "enabled", "budget_tokens": 1024}),
        (1025, 4000, {"type": "enabled", "budget_tokens": 1024}),
        (1024, 1024, {"type": "disabled"}),
        (1, 1024, {"type": "disabled"}),
    ],
)
def test_a_budget_stays_below_max_tokens(
    max_tokens: int, budget: int, sent: Any
) -> None:
    wanted = {"type": "enabled", "budget_tokens": budget}
    asked = request("hi", thinking=wanted, max_tokens=max_tokens)
    composition = composed(asked, HAIKU_4_5)
    assert body_of(composition)["thinking"] == sent
    assert body_of(composition)["max_tokens"] == max_tokens
    path = "thinking.budget_tokens" if "budget_tokens" in sent else "thinking"
    assert composition.adjusted == (path,)


@pytest.mark.parametrize(
    ("max_tokens", "sent"),
    [
        (None, None),
        (32_000, None),
        (
            31_999,
            {"type": "enabled", "budget_tokens": 15_999, "display": "summarized"},
        ),
        (2048, {"type": "enabled", "budget_tokens": 1024, "display": "summarized"}),
        (2047, {"type": "disabled"}),
        (1, {"type": "disabled"}),
    ],
)
def test_the_clis_budget_is_replaced_if_max_tokens_is_smaller(
    max_tokens: int | None, sent: Any
) -> None:
    fields = {} if max_tokens is None else {"max_tokens": max_tokens}
    told = _thinking(HAIKU_4_5, None, cli=True, **fields)
    if told is not None and told["type"] == "enabled":
        # `request` is not shown thinking where it does not ask for it.
        told = {**told, "display": "summarized"}
    assert told == sent


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_the_clients_display_is_kept(display: str) -> None:
    wanted = {"type": "adaptive", "display": display}
    assert _thinking(OPUS, wanted) == wanted
    assert _thinking(OPUS, wanted, cli=True) == wanted


def test_other_apis_ask_for_summarized_thinking() -> None:
    sent = {"type": "adaptive", "display": "summarized"}
    assert _thinking(OPUS, {"type": "adaptive"}, cli=True) == sent
    assert _thinking(OPUS, {"type": "adaptive"}) == {"type": "adaptive"}


def test_an_unknown_form_of_thinking_is_sent() -> None:
    wanted = {"type": "dreaming", "depth": 3}
    assert _thinking(OPUS, wanted) == wanted


def test_unlimited_effort_is_lowered_where_thinking_is_off() -> None:
    asked = request("hi", thinking={"type": "disabled"})
    composition = composed(asked, OPUS_5, effort="max")
    assert composition.body.effort == "high"
    assert composition.adjusted == ("output_config.effort",)
    for model_id, effort in [(OPUS_5, "high"), (OPUS_4_8, "max"), (OPUS_5, None)]:
        composition = composed(asked, model_id, effort=effort)
        assert composition.body.effort == effort
        assert composition.adjusted == ()


def test_effort_is_not_in_the_body() -> None:
    asked = request("hi", output_config={"effort": "high"})
    composition = composed(asked, effort="high")
    assert "output_config" not in body_of(composition)
    assert composition.body.effort == "high"


def test_the_clis_context_management_is_removed_where_thinking_is_off() -> None:
    off = request("hi", thinking={"type": "disabled"})
    assert body_of(composed(off, OPUS_5))["context_management"] is None
    assert "context_management" not in body_of(composed(off, OPUS))
    # Where it is not sent, null is a field too much.
    without = composed(off, OPUS_5, betas=frozenset({"other-2025-01-01"}))
    assert "context_management" not in body_of(without)
    own = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    asked = request("hi", thinking={"type": "disabled"}, context_management=own)
    assert body_of(composed(asked, OPUS_5))["context_management"] == own


def test_thinking_in_the_history_is_left_out_where_thinking_is_off() -> None:
    told = [user("hi"), assistant(thought(), "ho"), user("so?")]
    off = request(told, thinking={"type": "disabled"})
    composition = composed(off, OPUS_5)
    assert "thinking" not in composition.body.json.decode().partition("messages")[2]
    assert composition.ignored == ("messages[1].content[0]",)
    assert composed(off, OPUS).ignored == ()


LOOP = [user("hi"), assistant(call("a")), user(result("a"))]


def test_manual_thinking_needs_a_turn_that_begins_with_it() -> None:
    wanted = {"type": "enabled", "budget_tokens": 2000}
    fields = {"tools": [tool()], "thinking": wanted, "max_tokens": 4000}
    composition = composed(request(LOOP, **fields), HAIKU_4_5)
    assert body_of(composition)["thinking"] == {"type": "disabled"}
    assert composition.adjusted == ("thinking",)
    whole = [LOOP[0], assistant(thought(), call("a")), LOOP[2]]
    composition = composed(request(whole, **fields), HAIKU_4_5)
    assert body_of(composition)["thinking"] == wanted
    # Nor does the adaptive kind mind.
    adaptive = request(LOOP, tools=[tool()], thinking={"type": "adaptive"})
    assert body_of(composed(adaptive, OPUS))["thinking"] == {"type": "adaptive"}
