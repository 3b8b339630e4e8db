"""Composes requests for tests, and merges bodies as the CLI does."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from ccproxy.api.messages.request import decode_messages
from ccproxy.claude.body.compose import Composition, composing, run
from ccproxy.claude.body.history import Recall
from ccproxy.claude.body.models import rules_for
from ccproxy.claude.body.options import ComposeOptions
from ccproxy.claude.body.result import ComposedBody
from ccproxy.core.blocks import content_of
from ccproxy.core.messages import Message, MessagesRequest

BETAS = frozenset({"context-management-2025-06-27", "interleaved-thinking-2025-05-14"})
OPUS = "claude-opus-5-5"
SONNET_5 = "claude-sonnet-5"
HAIKU_4_5 = "claude-haiku-4-5-20251001"


def request(
    messages: Sequence[Mapping[str, Any]] | str = "hi", **fields: Any
) -> MessagesRequest:
    """A request from a client of the Messages API."""
    told = [user(messages)] if isinstance(messages, str) else messages
    body = {"model": "sonnet", "messages": told, **fields}
    return decode_messages(json.dumps(body).encode()).request


def translated(
    messages: Sequence[Mapping[str, Any]] | str = "hi", **fields: Any
) -> MessagesRequest:
    """The same request from another API: no ``thinking`` means the CLI's default."""
    return evolve(request(messages, **fields), default_thinking="cli")


def raw_message(role: str, content: Any, at: str = "") -> Message:
    """A message with undecoded blocks."""
    return Message(role, content_of(json.dumps(content).encode(), f"{at}.content"), at)


def composed(
    asked: MessagesRequest,
    model_id: str = OPUS,
    *,
    effort: str | None = None,
    remembered: Recall | None = None,
    **options: Any,
) -> Composition:
    """Compose a request for a model."""
    return run(
        composing(
            asked,
            model="sonnet",
            model_id=model_id,
            effort=effort,
            remembered=remembered,
            options=ComposeOptions(**{"betas": BETAS, **options}),
        )
    )


def body_of(composition: Composition) -> dict[str, Any]:
    """The JSON that the CLI merges into its request."""
    found: dict[str, Any] = json.loads(composition.body.json)
    return found


def user(*content: Any) -> dict[str, Any]:
    """A message of the user, with text or blocks."""
    return {"role": "user", "content": _content(content)}


def assistant(*content: Any) -> dict[str, Any]:
    """A message of the assistant, with text or blocks."""
    return {"role": "assistant", "content": _content(content)}


def system(text: str) -> dict[str, Any]:
    """A system message among the turns."""
    return {"role": "system", "content": text}


def _content(content: Sequence[Any]) -> Any:
    if len(content) == 1 and isinstance(content[0], str):
        return content[0]
    return [text(c) if isinstance(c, str) else c for c in content]


def text(said: str, **fields: Any) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": said, **fields}


def call(identifier: str, name: str = "look", **arguments: Any) -> dict[str, Any]:
    """A call of a tool."""
    return {"type": "tool_use", "id": identifier, "name": name, "input": arguments}


def result(identifier: str, content: Any = "seen", **fields: Any) -> dict[str, Any]:
    """The result of a call."""
    return {
        "type": "tool_result",
        "tool_use_id": identifier,
        "content": content,
        **fields,
    }


def thought(said: str = "hm", signature: str = "c2ln") -> dict[str, Any]:
    """A block of thinking."""
    return {"type": "thinking", "thinking": said, "signature": signature}


def tool(name: str = "look", **fields: Any) -> dict[str, Any]:
    """A tool that the client runs."""
    return {"name": name, "input_schema": {"type": "object"}, **fields}


def upstream(body: ComposedBody, model_id: str) -> dict[str, Any]:
    """The CLI's request with the body merged into it.

    Source: docs/claude-cli-protocol.md, "Body mode".
    """
    marker = {"type": "ephemeral"}
    if body.cache_ttl is not None:
        marker["ttl"] = body.cache_ttl
    told: list[dict[str, Any]] = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.332;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": marker},
    ]
    if body.system:
        told.append({"type": "text", "text": body.system, "cache_control": marker})
    rules = rules_for(model_id)
    own: dict[str, Any] = {
        "model": model_id,
        "messages": [user(body.first_text)],
        "system": told,
        "tools": [],
        "metadata": {"user_id": "u"},
        "max_tokens": min(128_000, rules.max_output_tokens),
        "stream": True,
    }
    config: dict[str, Any] = {}
    if "adaptive" in rules.thinking:
        own["thinking"] = {"type": "adaptive", "display": "summarized"}
        config = {"effort": body.effort or "medium"}
    elif rules.thinking:
        own["thinking"] = {
            "type": "enabled",
            "budget_tokens": 31_999,
            "display": "summarized",
        }
    if rules.thinking:
        edit = {"type": "clear_thinking_20251015", "keep": "all"}
        own["context_management"] = {"edits": [edit]}
    merged: dict[str, Any] = json.loads(body.json)
    config |= merged.pop("output_config", {})
    own |= merged
    if config:
        own["output_config"] = config
    return own
