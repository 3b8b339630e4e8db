"""The document of a response, with all of its fields at any time. Pure.

Source: ``ResponseResource`` of Open Responses, ``Response`` of OpenAI.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ccproxy.api.responses.request import Echo
from ccproxy.core.errors import (
    CCProxyError,
    ClientError,
    InsufficientQuota,
    RateLimited,
)
from ccproxy.core.stream import Usage


def resource(
    *,
    identifier: str,
    created_at: int,
    status: str,
    model: str,
    output: Sequence[dict[str, Any]],
    echo: Echo,
) -> dict[str, Any]:
    """A response as it is now, without the fields of its end."""
    asked = echo.effort is not None or echo.summary is not None
    text: dict[str, Any] = {"format": echo.format}
    if echo.verbosity is not None:
        text["verbosity"] = echo.verbosity
    conversation = {}
    if echo.conversation_id is not None:
        conversation["conversation"] = {"id": echo.conversation_id}
    return {
        "id": response_id(identifier),
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": status,
        "incomplete_details": None,
        "model": model,
        "previous_response_id": echo.previous_response_id,
        "instructions": echo.instructions,
        "output": list(output),
        "error": None,
        "tools": list(echo.tools),
        "tool_choice": echo.tool_choice,
        "truncation": echo.truncation,
        "parallel_tool_calls": echo.parallel_tool_calls,
        "text": text,
        "top_p": echo.top_p,
        "presence_penalty": echo.presence_penalty,
        "frequency_penalty": echo.frequency_penalty,
        "top_logprobs": 0,
        "temperature": echo.temperature,
        "reasoning": (
            {"effort": echo.effort, "summary": echo.summary} if asked else None
        ),
        "usage": None,
        "max_output_tokens": echo.max_output_tokens,
        "max_tool_calls": echo.max_tool_calls,
        "store": echo.store,
        "background": echo.background,
        "service_tier": "default",
        "metadata": echo.metadata,
        "safety_identifier": echo.safety_identifier,
        "prompt_cache_key": echo.prompt_cache_key,
        **conversation,
    }


def response_id(identifier: str) -> str:
    """The id of a response."""
    return f"resp_{identifier}"


def failed(response: Mapping[str, Any], error: CCProxyError) -> Mapping[str, Any]:
    """The response with the status ``failed``."""
    return {
        **response,
        "status": "failed",
        "completed_at": None,
        "incomplete_details": None,
        "error": {"code": error_code(error), "message": error.message},
    }


def error_code(error: CCProxyError) -> str:
    """The code of OpenAI's closed list ``ResponseErrorCode``."""
    match error:
        case RateLimited() | InsufficientQuota():
            return "rate_limit_exceeded"
        case ClientError():
            return "invalid_prompt"
    return "server_error"


def usage_of(usage: Usage) -> dict[str, Any]:
    """The token counts by the names of Responses."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }
