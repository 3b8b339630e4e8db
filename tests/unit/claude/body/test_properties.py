"""The body of any valid request equals the request, and the provider takes it."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.comparison import differences, only_named
from tests.support.composed import BETAS, composed, request, upstream
from tests.support.messages_requests import ALIASES, messages_requests
from tests.support.provider_rules import violations

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def _path(named: str) -> str:
    """A named path as the comparison writes it."""
    return named.replace("[", ".").replace("]", "")


def _model_id(body: dict[str, Any]) -> str:
    return ALIASES.get(body["model"], body["model"])


@settings(max_examples=70, deadline=None, suppress_health_check=_SLOW)
@given(messages_requests())
def test_a_valid_request_is_sent_unchanged(body: dict[str, Any]) -> None:
    model_id = _model_id(body)
    asked = request(**body)
    composition = composed(asked, model_id, effort=asked.effort)
    sent = upstream(composition.body, model_id)
    assert violations(sent, betas=BETAS) == []
    named = [_path(p) for p in (*composition.adjusted, *composition.ignored)]
    # An empty list of them says as much as none.
    asked_for = {k: v for k, v in body.items() if (k, v) != ("stop_sequences", [])}
    assert only_named(differences(asked_for, sent), named) == []


@settings(max_examples=30, deadline=None, suppress_health_check=_SLOW)
@given(messages_requests())
def test_composing_is_deterministic(body: dict[str, Any]) -> None:
    model_id = _model_id(body)
    one, other = (composed(request(**body), model_id) for _ in range(2))
    assert one.body == other.body
    assert one.prefix == other.prefix


def _without_breakpoints(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k != "cache_control"}
        return {k: _without_breakpoints(v) for k, v in kept.items()}
    if isinstance(value, list):
        return [_without_breakpoints(each) for each in value]
    return value


def _as_blocks(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return {**message, "content": content}


@settings(max_examples=70, deadline=None, suppress_health_check=_SLOW)
@given(messages_requests(breakpoints=0), st.text(min_size=1).filter(str.strip))
def test_an_appended_turn_does_not_change_the_prefix(
    body: dict[str, Any], answer: str
) -> None:
    if body["messages"][-1]["role"] == "assistant":
        return
    answer = answer.encode("utf-8", "replace").decode()
    model_id = _model_id(body)
    longer = [
        *body["messages"],
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "and then"},
    ]
    before = composed(request(**body), model_id)
    after = composed(request(**{**body, "messages": longer}), model_id)
    shorter = [
        json.dumps(_as_blocks(_without_breakpoints(m)), sort_keys=True)
        for m in json.loads(before.body.json)["messages"]
    ]
    whole = [
        json.dumps(_as_blocks(_without_breakpoints(m)), sort_keys=True)
        for m in json.loads(after.body.json)["messages"]
    ]
    assert whole[: len(shorter)] == shorter
    assert before.body.first_text == after.body.first_text
    assert before.prefix != after.prefix
