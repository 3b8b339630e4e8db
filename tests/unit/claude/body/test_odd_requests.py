"""Any odd request is refused, or the provider takes its body."""

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccproxy.core.errors import ClientError
from ccproxy.core.messages import MessagesRequest
from tests.support.composed import BETAS, composed, request, translated, upstream
from tests.support.messages_requests import (
    ALIASES,
    grammar_schemas,
    json_objects,
    messages_requests,
    schemas,
)
from tests.support.provider_models import model_rules
from tests.support.provider_rules import Issued, violations
from tests.support.provider_thinking import Signature

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_BLANKS = ("", " ", "\n\t", "\u2003")
_MARKERS = ({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"})
_EXTRAS: list[tuple[str, Any]] = [
    ("temperature", 0.5),
    ("temperature", 1),
    ("top_p", 0.9),
    ("top_k", 5),
    ("metadata", {"user_id": "me"}),
    ("betas", ["x"]),
    ("anthropic_version", "2023-06-01"),
    ("context_management", {"edits": []}),
    ("speed", "fast"),
    ("cache_control", _MARKERS[0]),
    ("cache_control", _MARKERS[1]),
    ("diagnostics", {}),
]


def _nearest(effort: str | None, known: frozenset[str]) -> str | None:
    """As the catalogue has it."""
    if effort is None or not known:
        return None
    rank = _EFFORTS.index(effort)
    return min(sorted(known), key=lambda e: abs(_EFFORTS.index(e) - rank))


def _combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda key, branches: {"type": "object", key: branches},
        st.sampled_from(["anyOf", "oneOf", "allOf"]),
        st.lists(inner, min_size=1, max_size=3),
    )


_schemas: st.SearchStrategy[Any] = (
    schemas() | _combined(schemas()) | json_objects.map(lambda _: {})
)


@st.composite
def _odd(draw: st.DrawFn) -> dict[str, Any]:
    body: dict[str, Any] = copy.deepcopy(draw(messages_requests(breakpoints=2)))
    messages: list[dict[str, Any]] = body["messages"]
    for message in messages:
        if isinstance(message["content"], str) and draw(st.booleans()):
            message["content"] = [{"type": "text", "text": message["content"]}]
    for message in messages:
        _spoil(draw, message)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(messages)))
        role = draw(st.sampled_from(["system", "user"]))
        told = draw(st.sampled_from([*_BLANKS, "and", "or"]))
        messages.insert(place, {"role": role, "content": told})
    if draw(st.booleans()):
        body["thinking"] = {
            "type": draw(
                st.sampled_from(["adaptive", "enabled", "disabled", "between_tools"])
            ),
        }
        if body["thinking"]["type"] == "enabled":
            body["thinking"]["budget_tokens"] = draw(st.integers(0, 200_000))
    elif draw(st.booleans()):
        body.pop("thinking", None)
    body["max_tokens"] = draw(st.integers(1, 3000) | st.integers(1, 10**9))
    tools = body.get("tools") or []
    for tool in tools:
        if "input_schema" in tool and not tool.get("strict") and draw(st.booleans()):
            tool["input_schema"] = draw(_schemas)
    if tools and draw(st.booleans()):
        name = draw(st.sampled_from([t["name"] for t in tools]))
        body["tool_choice"] = draw(
            st.sampled_from([{"type": "any"}, {"type": "tool", "name": name}])
        )
    elif draw(st.integers(0, 4)) == 0:
        body.pop("tools", None)
        body.pop("tool_choice", None)
    if draw(st.booleans()):
        form = draw(
            st.just({"type": "json_object"})
            | st.builds(
                lambda s: {"type": "json_schema", "schema": s},
                _schemas | grammar_schemas(),
            )
        )
        effort = draw(st.sampled_from([None, *_EFFORTS]))
        body["output_config"] = {"format": form}
        if effort is not None:
            body["output_config"]["effort"] = effort
    body["stop_sequences"] = draw(st.lists(st.sampled_from(["\n", " ", "END"])))
    for name, value in draw(st.lists(st.sampled_from(_EXTRAS), max_size=3)):
        body[name] = value
    return body


def _spoil(draw: st.DrawFn, message: dict[str, Any]) -> None:
    """Put into a message what the provider would refuse."""
    content = message["content"]
    if not isinstance(content, list):
        return
    if draw(st.integers(0, 2)) == 0:
        place = draw(st.integers(0, len(content)))
        blank = {"type": "text", "text": draw(st.sampled_from(_BLANKS))}
        content.insert(place, blank)
    if message["role"] == "assistant" and draw(st.integers(0, 1)) == 0:
        place = draw(st.sampled_from([0, len(content)]))
        signature = draw(st.sampled_from(["", "c2ln"]))
        content.insert(
            place, {"type": "thinking", "thinking": "hm", "signature": signature}
        )
    for block in content:
        if block["type"] in ("tool_use", "tool_result") and draw(st.booleans()):
            _spoil_call(draw, block)
        if draw(st.integers(0, 3)) == 0:
            block["cache_control"] = dict(draw(st.sampled_from(_MARKERS)))


def _spoil_call(draw: st.DrawFn, block: dict[str, Any]) -> None:
    if block["type"] == "tool_use":
        odd = st.sampled_from([None, "x", '{"a": 1}', [1], 3])
        block["input"] = draw(odd)
        return
    inner = draw(st.sampled_from(_BLANKS))
    part = {"type": "text", "text": inner, "cache_control": dict(_MARKERS[0])}
    block["content"] = [part, {**part, "text": "seen"}]


def _with_odd_ids(body: dict[str, Any], mode: int) -> None:
    """Ids that are not unique, or not of the API's characters."""
    for message in body["messages"]:
        if not isinstance(message["content"], list):
            continue
        for block in message["content"]:
            for key in ("id", "tool_use_id"):
                if block["type"] in ("tool_use", "tool_result") and key in block:
                    number = block[key].rpartition("_")[2]
                    block[key] = number if mode == 1 else f"call {block[key]}|é"


@settings(max_examples=80, deadline=None, suppress_health_check=_SLOW)
@given(_odd(), st.booleans(), st.integers(0, 2), st.booleans(), st.booleans())
def test_the_provider_takes_the_composed_body(
    body: dict[str, Any],
    is_translated: bool,
    ids: int,
    forwards: bool,
    is_long: bool,
) -> None:
    model_id = ALIASES.get(body["model"], body["model"])
    if ids:
        _with_odd_ids(body, ids)
    make = translated if is_translated else request
    try:
        asked: MessagesRequest = make(**body)
        composition = composed(
            asked,
            model_id,
            effort=_nearest(asked.effort, model_rules(model_id).efforts),
            forward_sampling=forwards,
            cache_ttl="1h" if is_long else None,
        )
    except ClientError as error:
        assert error.message
        return
    issued = Issued(signatures={"c2ln": [Signature(model_id, "")]})
    sent = upstream(composition.body, model_id)
    if asked.effort is None:
        # The CLI's own is what the model has.
        sent.get("output_config", {}).pop("effort", None)
    found = violations(sent, betas=BETAS, issued=issued, prefix_check=False)
    assert found == [], sent
