"""Complete example requests for ``GET /openapi.json``. Pure."""

from collections.abc import Mapping
from typing import Any

_HELLO = {"role": "user", "content": "Hello!"}
_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
_WEATHER = {"name": "get_weather", "parameters": _PARAMETERS}
_CALL = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}

# By the name of the body's schema.
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "ChatRequest": {
        "plain": {"messages": [_HELLO]},
        "stream": {
            "model": "sonnet",
            "messages": [{"role": "system", "content": "Be brief."}, _HELLO],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        "tools": {
            "messages": [
                _HELLO,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": _CALL}
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            ],
            "tools": [{"type": "function", "function": _WEATHER}],
        },
    },
    "ResponsesRequest": {
        "plain": {"model": "sonnet", "input": "Hello!"},
        "items": {
            "model": "sonnet",
            "instructions": "Be brief.",
            "input": [{"type": "message", **_HELLO}],
            "tools": [{"type": "function", **_WEATHER}],
            "reasoning": {"effort": "low"},
            "metadata": {"topic": "greetings"},
        },
        "stream": {"model": "sonnet", "input": "Hello!", "stream": True},
        "background": {"model": "sonnet", "input": "Hello!", "background": True},
    },
    "MessagesRequest": {
        "plain": {"model": "sonnet", "max_tokens": 1000, "messages": [_HELLO]},
        "stream": {
            "model": "sonnet",
            "max_tokens": 1000,
            "system": "Be brief.",
            "messages": [_HELLO],
            "stream": True,
        },
    },
    "NewConversation": {
        "plain": {
            "metadata": {"topic": "greetings"},
            "items": [{"type": "message", **_HELLO}],
        }
    },
    "ConversationUpdate": {"plain": {"metadata": {"topic": "weather"}}},
    "NewItems": {
        "plain": {
            "items": [
                {"type": "message", **_HELLO},
                {"type": "function_call", "call_id": "call_1", **_CALL},
                {
                    "type": "function_call_output",
                    "call_id": "call_1",
                    "output": "rain",
                },
            ]
        }
    },
}
