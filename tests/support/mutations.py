"""Valid requests with many fields, and odd values to put into them."""

from typing import Any

WEATHER = {
    "name": "get_weather",
    "description": "The weather  in a city.\n",
    "parameters": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}

ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**30, "", " ", "x", "a b", "@/etc/passwd", "/clear"),
    *("toolu_1", "toolu_1_2", "\u2028\x00", "x" * 5000, "[1]", '{"a": 1}', "auto"),
    *([], {}, [[]], [None], {"type": "object"}, {"type": "text", "text": ""}),
    *({"type": "function"}, {"name": "x"}, {"$ref": "#"}, "function", "required"),
]

CHAT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "hm",
                    "signature": "c2ln",
                    "index": 0,
                }
            ],
            "tool_calls": [
                {
                    "id": f"toolu_{number}",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
                }
                for number in (1, 2)
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "warm"},
        {
            "role": "tool",
            "tool_call_id": "toolu_2",
            "content": [{"type": "text", "text": "cold"}],
        },
        {"role": "user", "content": "and?"},
    ],
    "tools": [
        {"type": "function", "function": WEATHER},
        {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "get_weather"}}],
        },
    },
    "parallel_tool_calls": True,
    "reasoning_effort": "high",
    "response_format": {"type": "text"},
}
RESPONSES: dict[str, Any] = {
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "function_call",
            "call_id": "toolu_1",
            "name": "get_weather",
            "arguments": "{}",
        },
        {
            "type": "custom_tool_call",
            "call_id": "toolu_2",
            "namespace": "files",
            "name": "patch",
            "input": "a",
        },
        {"type": "function_call_output", "call_id": "toolu_1", "output": "warm"},
        {
            "type": "custom_tool_call_output",
            "call_id": "toolu_2",
            "output": [{"type": "input_text", "text": "done"}],
        },
    ],
    "tools": [
        {"type": "function", **WEATHER},
        {
            "type": "namespace",
            "name": "files",
            "description": "Files.",
            "tools": [
                {
                    "type": "custom",
                    "name": "patch",
                    "format": {"type": "grammar", "syntax": "regex", "definition": "a"},
                }
            ],
        },
        {"type": "local_shell"},
        {"type": "web_search"},
    ],
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
    "store": False,
}
FORMAT = {
    "name": "weather",
    "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
}


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every part of a value, as its container and its key or index."""
    keys = node if isinstance(node, dict) else range(len(node))
    found = [(node, key) for key in keys]
    for key in keys:
        if isinstance(node[key], dict | list):
            found += places(node[key])
    return found
