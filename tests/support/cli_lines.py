"""Lines as the CLI writes them, for tests of their decoding."""

import json
from collections.abc import Mapping
from typing import Any

Line = Mapping[str, Any]


def stream(kind: str, **fields: Any) -> Line:
    event = {"type": kind, **fields}
    return {"type": "stream_event", "event": event, "parent_tool_use_id": None}


def message_start(
    identifier: str = "msg_1", *, fields: Mapping[str, Any] | None = None, **usage: Any
) -> Line:
    message = {"id": identifier, "model": "claude-test", "content": []}
    return stream(
        "message_start", message={**message, "usage": usage, **(fields or {})}
    )


def block_start(block: Line | None = None, index: int = 0) -> Line:
    text = {"type": "text", "text": ""}
    return stream("content_block_start", index=index, content_block=block or text)


def delta(kind: str, index: int = 0, **fields: Any) -> Line:
    return stream("content_block_delta", index=index, delta={"type": kind, **fields})


def text(said: str, index: int = 0) -> Line:
    return delta("text_delta", index, text=said)


def block_stop(index: int = 0) -> Line:
    return stream("content_block_stop", index=index)


def message_delta(
    reason: str | None,
    *,
    usage: Any = None,
    fields: Mapping[str, Any] | None = None,
    **stop: Any,
) -> Line:
    told = {"stop_reason": reason, "stop_sequence": None, **stop}
    return stream("message_delta", delta=told, usage=usage, **(fields or {}))


MESSAGE_STOP = stream("message_stop")
NUDGE: Line = {
    "type": "user",
    "isSynthetic": True,
    "message": {"role": "user", "content": "Resume directly."},
}
NO_SUCH_TOOL: Line = {
    "type": "user",
    "message": {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}],
    },
}


def assistant(
    *blocks: Line, identifier: str = "msg_1", reason: str | None = None, **more: Any
) -> Line:
    message = {
        "id": identifier,
        "model": "claude-test",
        "content": blocks,
        "stop_reason": reason,
        **more,
    }
    return {"type": "assistant", "message": message, "parent_tool_use_id": None}


def synthetic(said: str, error: str) -> Line:
    block = {"type": "text", "text": said}
    line = assistant(block, identifier="x", model="<synthetic>")
    return {**line, "error": error}


def api_retry(
    attempt: int = 1, status: int | None = 529, error: str = "overloaded"
) -> Line:
    return {
        "type": "system",
        "subtype": "api_retry",
        "attempt": attempt,
        "retry_delay_ms": 1500.5,
        "error_status": status,
        "error": error,
    }


def rate_limit(status: str, resets_at: float | None) -> Line:
    info = {"status": status, "resetsAt": resets_at}
    return {"type": "rate_limit_event", "rate_limit_info": info}


def result(**fields: Any) -> Line:
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "num_turns": 1,
        "total_cost_usd": 0.25,
        **fields,
    }


BLOCKED = result(
    is_error=True, terminal_reason="blocking_limit", result="Prompt is too long"
)
NO_TURNS_LEFT = result(
    subtype="error_max_turns", is_error=True, terminal_reason="max_turns"
)


def encoded(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode()
