"""The lines and control requests that are written to the CLI. Pure.

Source: docs/claude-cli-protocol.md, "Input", "Body mode" and "Tools".
"""

from collections.abc import Mapping, Sequence

import msgspec

from ccproxy.claude.protocol.codec import encode

_BODY = "CLAUDE_CODE_EXTRA_BODY"
_LIMIT = "CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE"
# In tokens; larger than the context window of any model.
_NO_LIMIT = "100000000"
_NO_BODY: Mapping[str, object] = {"env": {_BODY: "", _LIMIT: "1"}}


def control_request(request_id: str, request: Mapping[str, object]) -> bytes:
    """The line of a control request."""
    return encode(
        {"type": "control_request", "request_id": request_id, "request": request}
    )


def initialize(
    system: str, offered: Mapping[str, object] | None = None
) -> Mapping[str, object]:
    """The first request to a CLI.

    Args:
        system: the system prompt; even an empty one replaces Claude Code's own.
        offered: further fields, such as tools.
    """
    return {"subtype": "initialize", "systemPrompt": [system], **(offered or {})}


def apply_flag_settings(
    *,
    model: str,
    effort: str | None,
    max_tokens: int | None,
    extra_body: Mapping[str, object],
    denied: Sequence[str] = (),
) -> Mapping[str, object]:
    """The settings of a turn in native mode.

    The CLI keeps the old value of an absent key, so every key is sent. Only
    ``permissions`` is absent if no tool is denied, because it then has no old value.
    The tools in ``denied`` are not shown to the model.
    """
    permissions = {"permissions": {"deny": list(denied)}} if denied else {}
    return {
        "subtype": "apply_flag_settings",
        "settings": {
            "model": model,
            "effortLevel": effort,
            "env": {
                "CLAUDE_CODE_MAX_OUTPUT_TOKENS": (
                    None if max_tokens is None else str(max_tokens)
                ),
                "CLAUDE_CODE_EXTRA_BODY": (
                    msgspec.json.encode(extra_body).decode() if extra_body else None
                ),
            },
            **permissions,
        },
    }


def mcp_status() -> Mapping[str, object]:
    """Ask for the state of the MCP servers that the CLI connects to by itself."""
    return {"subtype": "mcp_status"}


def set_system_prompt(text: str) -> Mapping[str, object]:
    """Replace the system prompt of a running CLI; the text cannot be empty.

    The request also sets the model to the account's default. `body_settings`, which
    follows, sets the model of the question.
    """
    return {"subtype": "set_model", "model": "default", "system_prompt": text}


def body_settings(
    *, model: str, effort: str | None, body: str, cache_ttl: str | None = None
) -> Mapping[str, object]:
    """The settings of a question whose body the proxy has composed.

    Every key is sent, because the CLI keeps the old value of an absent key. The CLI's
    limit on the prompt's length is removed, because the CLI does not know the body.
    """
    return {
        "subtype": "apply_flag_settings",
        "settings": {
            "model": model,
            "effortLevel": effort,
            "env": {
                _BODY: body,
                _LIMIT: _NO_LIMIT,
                "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "",
                "CLAUDE_CODE_PROMPT_CACHE_TTL": cache_ttl,
            },
        },
    }


def count_settings(model: str) -> Mapping[str, object]:
    """The settings of a token count: the model, and no body, as in `without_body`."""
    settings = {"model": model, **_NO_BODY}
    return {"subtype": "apply_flag_settings", "settings": settings}


def context_usage() -> Mapping[str, object]:
    """Ask for the number of tokens in the system prompt.

    The CLI sends the system prompt to the provider's ``count_tokens``, as the only
    message, with the role ``user``.
    """
    return {"subtype": "get_context_usage"}


def without_body() -> Mapping[str, object]:
    """Remove a question's body; the CLI sends no request until the next body is set."""
    return {"subtype": "apply_flag_settings", "settings": _NO_BODY}


def limit_to_one_request() -> Mapping[str, object]:
    """Keep the CLI from sending a request of its own after an answer.

    The CLI then considers the prompt of any further request too long, and ends the turn
    with the reason ``blocking_limit``. A retry of the current request is still sent.
    `body_settings` removes the limit.
    """
    return {"subtype": "apply_flag_settings", "settings": {"env": {_LIMIT: "1"}}}


def question(text: str, uuid: str) -> bytes:
    """The user message that starts a question; in the request, the body replaces it."""
    return encode(
        {
            "type": "user",
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": None,
            "session_id": "",
            "uuid": uuid,
            # Without this field, the CLI interprets the text: for `@/etc/passwd` it
            # sends that file, and `/clear` is run as a command.
            "client_composed": True,
        }
    )


def ping() -> Mapping[str, object]:
    """A request of an unknown type, which every CLI refuses within a millisecond."""
    return {"subtype": "ccproxy_ping"}


def rewind_conversation(uuid: str, last: str) -> Mapping[str, object]:
    """Remove a user's turn and everything after it.

    Args:
        uuid: the id of the turn.
        last: the id of the last turn that was written.
    """
    return {
        "subtype": "rewind_conversation",
        "target_message_uuid": uuid,
        "last_seen_user_message_uuid": last,
    }


def interrupt() -> Mapping[str, object]:
    """Interrupt the current turn."""
    return {"subtype": "interrupt"}


def refusal(request_id: str, reason: str) -> bytes:
    """Refuse a control request of the CLI."""
    return encode(
        {
            "type": "control_response",
            "response": {
                "subtype": "error",
                "request_id": request_id,
                "error": reason,
            },
        }
    )


def mcp_answer(request_id: str, message: Mapping[str, object]) -> bytes:
    """Answer a message to the proxy's tool server."""
    return encode(
        {
            "type": "control_response",
            "response": {
                "subtype": "success",
                "request_id": request_id,
                "response": {"mcp_response": message},
            },
        }
    )
