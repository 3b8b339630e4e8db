"""The table of models."""

import pytest

from ccproxy.claude.body.models import (
    UNKNOWN,
    is_same_model,
    lower_effort,
    rules_for,
)
from tests.support.provider_models import MODELS


@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_nothing_is_sent_that_the_provider_refuses(model_id: str) -> None:
    """The tests' table and ours were written apart."""
    ours, theirs = rules_for(model_id), MODELS[model_id]
    assert ours.thinking <= theirs.thinking
    assert ours.thinks_by_default == theirs.thinks_by_default
    assert theirs.prefill or not ours.takes_prefill
    assert theirs.system_role or not ours.takes_system_messages
    assert theirs.forced_tools or not ours.takes_forced_tool_choice
    assert ours.max_output_tokens <= theirs.max_tokens
    assert theirs.new_web_search or not ours.has_new_web_search
    assert ours.is_prefix_bound or not theirs.prefix_check
    ranks = {"none": 0, "default": 1, "free": 2}
    most = {"none": 0, "default": 1, "any": 2}[theirs.sampling]
    assert ranks[ours.sampling] <= most
    if theirs.calm_up_to_high and ours.thinking & {"disabled", "between_tools"}:
        assert ours.thinking_off_up_to == "high"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("us.anthropic.claude-opus-4-6-v1:0", "claude-opus-4-6"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("claude-sonnet-5-5[1m]", "claude-sonnet-5-5"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
    ],
)
def test_ids_with_a_date_or_a_cloud_name_the_same_model(one: str, other: str) -> None:
    assert rules_for(one) is rules_for(other)
    assert is_same_model(one, other)


@pytest.mark.parametrize(
    ("model_id", "most"),
    [
        ("claude-opus-4-20250514", 32_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-3-5-haiku-20241022", 8_192),
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-opus-20240229", 4_096),
    ],
)
def test_a_date_is_no_minor_version(model_id: str, most: int) -> None:
    assert rules_for(model_id).max_output_tokens == most


@pytest.mark.parametrize("model_id", ["", "gpt-5", "claude-lyric-7", "sonnet"])
def test_an_unknown_model_has_the_newest_rules(model_id: str) -> None:
    assert rules_for(model_id) is UNKNOWN


def test_newer_versions_have_the_rules_of_the_newest_known() -> None:
    assert rules_for("claude-opus-6-1") is rules_for("claude-opus-5-5")
    assert not is_same_model("claude-opus-6-1", "claude-opus-5-5")


def test_an_effort_is_lowered_to_its_limit() -> None:
    assert lower_effort("max", "high") == "high"
    assert lower_effort("low", "high") == "low"
    assert lower_effort(None, "high") is None
    assert lower_effort("max", None) == "max"
