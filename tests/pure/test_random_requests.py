"""The random requests of the property tests are requests that the provider takes."""

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings

from tests.support.messages_requests import ALIASES, messages_requests
from tests.support.provider_rules import violations

CACHE = {"type": "ephemeral"}
# What the CLI puts in front of a client's system prompt.
CLI = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.332.abc;"},
    {"type": "text", "text": "You are Claude Code.", "cache_control": CACHE},
]


def upstream(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request as the CLI would send it: its system blocks, the full model."""
    system = request.get("system") or []
    text = system if isinstance(system, str) else "".join(b["text"] for b in system)
    own = [{"type": "text", "text": text, "cache_control": CACHE}] if text else []
    model = request["model"]
    return {**request, "system": [*CLI, *own], "model": ALIASES.get(model, model)}


def many(test: Callable[..., None]) -> Callable[..., None]:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=150, deadline=None, suppress_health_check=slow)(test)


@many
@given(messages_requests(sampling=True))
def test_messages_requests_are_valid(request: dict[str, Any]) -> None:
    assert violations(upstream(request), betas=()) == []
