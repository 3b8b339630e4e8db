"""The provider takes the random requests of the property tests.

Of another API, they are requests of that API, and mean one that the provider takes.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator

from tests.support import chat_requests, responses_requests
from tests.support.comparison import differences
from tests.support.fitting_replies import fitting_reply
from tests.support.json_schema import validator_of
from tests.support.messages_requests import ALIASES, messages_requests
from tests.support.provider_rules import violations

Test = Callable[..., None]
SPEC = Path(__file__).parents[2] / "spec" / "openai.openapi.json"
CACHE = {"type": "ephemeral"}
# What the CLI puts in front of a client's system prompt.
CLI: list[dict[str, Any]] = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.332.abc;"},
    {"type": "text", "text": "You are Claude Code.", "cache_control": CACHE},
]


def upstream(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request as the CLI would send it: its system blocks, the full model."""
    system = request.get("system") or []
    blocks = [{"text": system}] if isinstance(system, str) else system
    text = "\n\n".join(block["text"] for block in blocks)
    # Its breakpoints live as long as the client's.
    is_long = '"ttl": "1h"' in json.dumps(request)
    control = {**CACHE, "ttl": "1h"} if is_long else CACHE
    own = [{"type": "text", "text": text, "cache_control": control}] if text else []
    first, second = CLI
    system = [first, {**second, "cache_control": control}, *own]
    model = request["model"]
    return {**request, "system": system, "model": ALIASES.get(model, model)}


@cache
def validator(component: str) -> Any:
    """What says whether something is a ``component`` of OpenAI's API."""
    document = _relaxed(json.loads(SPEC.read_text()))
    schema = {
        "$ref": f"#/components/schemas/{component}",
        "components": document["components"],
    }
    return validator_of(schema)


def _relaxed(node: Any) -> Any:
    """`nullable: true` is OpenAPI 3.0's word; some items are two of a `oneOf`."""
    if isinstance(node, list):
        return [_relaxed(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {
        "anyOf" if key == "oneOf" and isinstance(value, list) else key: _relaxed(value)
        for key, value in node.items()
    }
    if schema.pop("nullable", None) is True:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def examples(count: int) -> Callable[[Test], Test]:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count, deadline=None, suppress_health_check=slow)


@examples(60)
@given(messages_requests(sampling=True))
def test_messages_requests_are_valid(request: dict[str, Any]) -> None:
    told = upstream(request)
    assert violations(told, betas=()) == []
    assert differences(request, told) == []


@examples(60)
@given(chat_requests.chat_requests())
def test_chat_requests_mean_valid_ones(request: dict[str, Any]) -> None:
    body = {"max_tokens": 9, **chat_requests.expected(request)}
    assert violations(upstream(body), betas=()) == []
    assert differences(body, upstream(body), joined=True) == []


@examples(60)
@given(responses_requests.responses_requests())
def test_responses_requests_mean_valid_ones(request: dict[str, Any]) -> None:
    body = {"max_tokens": 9, **responses_requests.expected(request)}
    assert violations(upstream(body), betas=()) == []
    assert differences(body, upstream(body), joined=True) == []


# OpenAI's document takes a tenth of a second and more for each: none is made smaller.
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(chat_requests.chat_requests(), responses_requests.responses_requests())
def test_they_are_requests_of_openais_apis(
    chat: dict[str, Any], response: dict[str, Any]
) -> None:
    validator("CreateChatCompletionRequest").validate(chat)
    validator("CreateResponse").validate(response)


@examples(60)
@given(messages_requests())
def test_a_fitting_reply_is_what_was_asked_for(request: dict[str, Any]) -> None:
    reply = fitting_reply(request)
    block = reply.blocks[0]
    choice = request.get("tool_choice", {"type": "auto"})
    form = request.get("output_config", {}).get("format")
    if choice["type"] in ("any", "tool"):
        assert block.tool_use is not None
        assert choice.get("name", block.tool_use[1]) == block.tool_use[1]
    elif form is not None:
        value = json.loads("".join(block.deltas))
        Draft202012Validator(form["schema"]).validate(value)
    else:
        assert block.deltas
