"""What is asked of the CLI by control requests, and answered to its own. Pure.

Source: docs/claude-cli-protocol.md, "Input", "The body set whole" and "Tools".
"""

from collections.abc import Mapping

import msgspec

from ccproxy.claude.protocol.codec import encode

_BODY = "CLAUDE_CODE_EXTRA_BODY"
_LIMIT = "CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE"
# Tokens; more than any model takes.
_NO_LIMIT = "100000000"


def control_request(request_id: str, request: Mapping[str, object]) -> bytes:
    """Ask the CLI for something."""
    return encode(
        {"type": "control_request", "request_id": request_id, "request": request}
    )


def initialize(
    system: str, offered: Mapping[str, object] | None = None
) -> Mapping[str, object]:
    """The first request to a CLI; an empty prompt still replaces Claude Code's own.

    Args:
        system: the system prompt.
        offered: what the CLI is told besides, such as tools.
    """
    return {"subtype": "initialize", "systemPrompt": [system], **(offered or {})}


def apply_flag_settings(
    *,
    model: str,
    effort: str | None,
    max_tokens: int | None,
    extra_body: Mapping[str, object],
) -> Mapping[str, object]:
    """Everything that a turn depends on besides its messages.

    Each key is always named: one that is left out would stay as it was.
    """
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
        },
    }


def set_system_prompt(text: str) -> Mapping[str, object]:
    """Give a running CLI another system prompt; it cannot be empty.

    The model that is named here is the account's default: settings that follow win.
    """
    return {"subtype": "set_model", "model": "default", "system_prompt": text}


def body_settings(
    *, model: str, effort: str | None, body: str, cache_ttl: str | None = None
) -> Mapping[str, object]:
    """Everything that a question depends on, whose body is set whole.

    Each key is always named: one that is left out would stay as it was. The CLI is not
    to judge how long the prompt is; it does not know the body.
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


def without_body() -> Mapping[str, object]:
    """Forget the body of a question, and ask nothing until there is another."""
    settings = {"env": {_BODY: "", _LIMIT: "1"}}
    return {"subtype": "apply_flag_settings", "settings": settings}


def limit_to_one_request() -> Mapping[str, object]:
    """Let the CLI ask nothing by itself once it has an answer.

    It then holds any further step of the turn for too long a prompt, and ends the turn
    with the reason ``blocking_limit``; a retry of the request that is under way it
    does not hold. `body_settings` takes it back.
    """
    return {"subtype": "apply_flag_settings", "settings": {"env": {_LIMIT: "1"}}}


def question(text: str, uuid: str) -> bytes:
    """What the model is asked, as far as the CLI knows; the body has the rest."""
    return encode(
        {
            "type": "user",
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": None,
            "session_id": "",
            "uuid": uuid,
            # Without it `@/etc/passwd` is read and sent, and `/clear` is run.
            "client_composed": True,
        }
    )


def ping() -> Mapping[str, object]:
    """Something to answer, which no CLI knows: it says so within a millisecond."""
    return {"subtype": "ccproxy_ping"}


def rewind_conversation(uuid: str, last: str) -> Mapping[str, object]:
    """Take back a user's turn and all behind it.

    Args:
        uuid: of the turn.
        last: of the last turn that the CLI was given.
    """
    return {
        "subtype": "rewind_conversation",
        "target_message_uuid": uuid,
        "last_seen_user_message_uuid": last,
    }


def interrupt() -> Mapping[str, object]:
    """Break the turn off that is under way."""
    return {"subtype": "interrupt"}


def refusal(request_id: str, reason: str) -> bytes:
    """Answer a control request of the CLI's that we have nothing for."""
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
    """Answer a message to the tool server that is us."""
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
