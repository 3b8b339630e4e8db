"""Top-level fields: sent, left out or refused."""

from typing import Any

import pytest
from attrs import evolve
from msgspec import Raw

from ccproxy.claude.body.options import (
    CLI_BETAS,
    NEVER_SENT,
    ComposeOptions,
    for_environment,
)
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Message, MessagesRequest, WebSearch
from tests.support.composed import (
    HAIKU_4_5,
    OPUS,
    body_of,
    composed,
    request,
    system,
    text,
    user,
)

OFF = {"type": "disabled"}
OPUS_4_6 = "claude-opus-4-6"


def _asked(**extra: bytes) -> MessagesRequest:
    fields = {name: Raw(raw) for name, raw in extra.items()}
    return MessagesRequest(messages=(Message("user", "hi"),), extra=fields)


@pytest.mark.parametrize(
    "name",
    [
        *("system", "metadata", "model", "stream", "betas", "anthropic_beta"),
        *(
            "anthropic_version",
            "diagnostics",
            "safeguards",
            "tags",
            "messages",
            "tools",
            "__proto__",
        ),
    ],
)
def test_fields_of_the_cli_are_never_sent(name: str) -> None:
    composition = composed(_asked(**{name: b'{"a":1}'}))
    body = body_of(composition)
    assert body.get(name) != {"a": 1}
    assert composition.ignored == (name,)


def test_a_body_cannot_search_the_web_for_another_api() -> None:
    wishes = (WebSearch(at="web_search_options"), WebSearch(at="tools[1]"))
    asked = evolve(request("hi"), web_searches=wishes)
    composition = composed(asked)
    assert composition.ignored == ("web_search_options", "tools[1]")
    assert "tools" not in body_of(composition) or body_of(composition)["tools"] == []


@pytest.mark.parametrize("name", sorted(NEVER_SENT - {"messages"} | {"cache_control"}))
def test_fields_of_the_cli_are_never_sent_from_the_operators_body(name: str) -> None:
    composition = composed(request("hi"), operator_body={name: Raw(b'{"a":1}')})
    assert name not in body_of(composition)


def test_unknown_fields_are_sent() -> None:
    composition = composed(_asked(service_tier=b'"auto"', novelty=b'{"a": [1]}'))
    assert b'"novelty":{"a": [1]}' in composition.body.json
    assert body_of(composition)["service_tier"] == "auto"
    assert composition.ignored == composition.adjusted == ()


@pytest.mark.parametrize("name", ["context_management", "speed", "fallbacks"])
def test_a_field_without_its_beta_is_left_out_and_reported(name: str) -> None:
    composition = composed(_asked(**{name: b'{"a":1}'}), betas=frozenset({"x"}))
    assert name not in body_of(composition)
    assert composition.ignored == (name,)


@pytest.mark.parametrize(
    ("name", "beta"),
    [
        ("context_management", "context-management-2025-06-27"),
        ("speed", "fast-mode-2026-02-01"),
    ],
)
def test_a_field_with_its_beta_is_sent(name: str, beta: str) -> None:
    composition = composed(_asked(**{name: b'[{"a":1}]'}), betas=frozenset({beta}))
    assert body_of(composition)[name] == [{"a": 1}]
    assert composition.ignored == ()


def test_nested_fields_need_their_betas() -> None:
    binding = {"prefix_mismatch_behavior": "drop_block"}
    asked = request(
        "hi",
        thinking={"type": "adaptive", "block_binding": binding},
        output_config={"task_budget": {"total": 5}},
    )
    composition = composed(asked)
    assert body_of(composition)["thinking"] == {"type": "adaptive"}
    assert "output_config" not in body_of(composition)
    assert set(composition.ignored) == {
        "thinking.block_binding",
        "output_config.task_budget",
    }
    betas = frozenset(
        {"thinking-binding-controls-2026-08-01", "task-budgets-2026-03-01"}
    )
    composition = composed(asked, betas=betas)
    assert body_of(composition)["thinking"]["block_binding"] == binding
    assert composition.ignored == ()


@pytest.mark.parametrize(
    ("model_id", "thinking", "fields", "sent"),
    [
        (OPUS_4_6, OFF, {"temperature": 0.3, "top_k": 5}, {"temperature", "top_k"}),
        (OPUS_4_6, None, {"temperature": 0.3}, {"temperature"}),
        (OPUS_4_6, {"type": "adaptive"}, {"temperature": 0.3}, set()),
        (OPUS_4_6, {"type": "adaptive"}, {"temperature": 1}, {"temperature"}),
        (OPUS, None, {"temperature": 1, "top_p": 0.9, "top_k": 1}, set()),
        ("", None, {"temperature": 1}, set()),
        ("claude-sonnet-5-5", None, {"temperature": 1, "top_p": 0.9}, {"temperature"}),
        (HAIKU_4_5, OFF, {"top_p": 0.9}, {"top_p"}),
    ],
)
def test_sampling_is_sent_to_models_that_take_it(
    model_id: str, thinking: Any, fields: dict[str, Any], sent: set[str]
) -> None:
    asked = request("hi", **fields, **({"thinking": thinking} if thinking else {}))
    composition = composed(asked, model_id, forward_sampling=True)
    assert set(fields) & set(body_of(composition)) == sent
    assert set(composition.ignored) == set(fields) - sent
    # Unless the operator says so, nothing of it goes up.
    composition = composed(asked, model_id)
    assert not set(fields) & set(body_of(composition))
    assert set(composition.ignored) == set(fields)


@pytest.mark.parametrize(
    ("model_id", "asked", "sent"),
    [
        (OPUS, 128_000, 128_000),
        (OPUS, 10**9, 128_000),
        (HAIKU_4_5, 64_001, 64_000),
        ("claude-opus-4-1-20250805", 50_000, 32_000),
        ("", 200_000, 128_000),
        (OPUS, 1, 1),
    ],
)
def test_max_tokens_is_capped_at_the_models_limit(
    model_id: str, asked: int, sent: int
) -> None:
    composition = composed(request("hi", max_tokens=asked), model_id)
    assert body_of(composition)["max_tokens"] == sent
    assert ("max_tokens" in composition.adjusted) is (asked != sent)


def test_without_max_tokens_the_clis_default_is_used() -> None:
    assert "max_tokens" not in body_of(composed(request("hi")))


@pytest.mark.parametrize("value", [0, -1])
def test_max_tokens_of_0_is_refused(value: int) -> None:
    asked = evolve(
        request("hi"), max_tokens=value, paths={"max_tokens": "max_completion_tokens"}
    )
    with pytest.raises(InvalidRequest) as caught:
        composed(asked)
    assert caught.value.param == "max_completion_tokens"


def test_reports_have_the_clients_names() -> None:
    asked = evolve(
        request("hi", max_tokens=10**9), paths={"max_tokens": "max_output_tokens"}
    )
    assert composed(asked).adjusted == ("max_output_tokens",)


def test_stop_sequences_need_a_visible_character() -> None:
    composition = composed(request("hi", stop_sequences=["END", "\n", " x", "\t"]))
    assert body_of(composition)["stop_sequences"] == ["END", " x"]
    assert composition.plan.stops == ("\n", "\t")
    composition = composed(request("hi", stop_sequences=["\n"]))
    assert "stop_sequences" not in body_of(composition)


def test_the_requests_fields_replace_the_operators() -> None:
    operator = {
        name: Raw(raw)
        for name, raw in {
            "region": b'"eu"',
            "max_tokens": b"7",
            "system": b'"be rude"',
            "metadata": b"{}",
            "messages": b"[]",
            "betas": b"[]",
        }.items()
    }
    composition = composed(request("hi", max_tokens=100), operator_body=operator)
    body = body_of(composition)
    assert body["region"] == "eu"
    assert body["max_tokens"] == 100
    assert not body.keys() & {"system", "metadata", "betas"}
    assert body["messages"][0]["role"] == "user"
    # What it does not have is the operator's.
    composition = composed(request("hi"), operator_body=operator)
    assert body_of(composition)["max_tokens"] == 7


def test_fields_of_messages_need_their_betas() -> None:
    told = [
        user("hi"),
        {**system("be brief"), "clear_at": {"type": "turn"}, "output_config": {}},
    ]
    composition = composed(request(told))
    assert body_of(composition)["messages"][1].keys() == {"role", "content"}
    assert composition.ignored == ("messages[1].clear_at", "messages[1].output_config")
    betas = frozenset({"per-turn-control-2026-07-01"})
    composition = composed(request(told), betas=betas)
    assert body_of(composition)["messages"][1].keys() == {
        "role",
        "content",
        "output_config",
    }


def test_updates_of_thinking_need_their_beta() -> None:
    asked = request("hi", thinking={"type": "adaptive", "display": "updates"})
    composition = composed(asked)
    assert body_of(composition)["thinking"]["display"] == "summarized"
    assert composition.adjusted == ("thinking.display",)
    betas = frozenset({"thinking-display-updates-2026-08-18"})
    assert composed(asked, betas=betas).adjusted == ()


def test_a_scope_of_the_cache_needs_its_beta() -> None:
    marker = {"type": "ephemeral", "scope": "global"}
    asked = request([user(text("hi", cache_control=marker))])
    composition = composed(asked)
    sent = body_of(composition)["messages"][0]["content"][0]["cache_control"]
    assert sent == {"type": "ephemeral"}
    assert composition.adjusted == ("messages[0].content[0].cache_control",)
    betas = frozenset({"prompt-caching-scope-2026-01-05"})
    composition = composed(asked, betas=betas)
    assert composition.adjusted == ()


@pytest.mark.parametrize(
    ("environment", "betas", "system_messages", "ttl"),
    [
        ({}, CLI_BETAS | {"x"}, True, None),
        ({"CLAUDE_CODE_USE_BEDROCK": "1"}, {"x"}, False, None),
        ({"CLAUDE_CODE_USE_VERTEX": "0"}, CLI_BETAS | {"x"}, True, None),
        (
            {"CLAUDE_CODE_USE_FOUNDRY": "1", "ANTHROPIC_BETAS": "a, b"},
            {"x", "a", "b"},
            False,
            None,
        ),
        ({"CLAUDE_CODE_PROMPT_CACHE_TTL": "1h"}, CLI_BETAS | {"x"}, True, "1h"),
        ({"CLAUDE_CODE_PROMPT_CACHE_TTL": "9h"}, CLI_BETAS | {"x"}, True, None),
    ],
)
def test_the_environment_decides_betas_and_features(
    environment: dict[str, str], betas: set[str], system_messages: bool, ttl: str | None
) -> None:
    found = for_environment(ComposeOptions(betas=CLI_BETAS | {"x"}), environment)
    assert found.betas == betas
    assert found.system_messages is system_messages
    assert found.cache_ttl == ttl
