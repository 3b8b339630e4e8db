"""Fields of another type or role than an object's have no effect, and are named."""

from typing import Any

import pytest

from tests.support.three_apis import API, CHAT, MESSAGES, RESPONSES

HI = {"role": "user", "content": "hi"}
SAID = {"role": "assistant", "content": "a"}
LOOK = {"name": "look", "parameters": {"type": "object"}}
NESTED = {"type": "function", "function": LOOK}
FLAT = {"type": "function", **LOOK}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLED = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "x"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}
CACHE = {"type": "ephemeral"}
URL = {"url": "https://a.example/b"}


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages) or [HI], **fields}


def part(**fields: Any) -> dict[str, Any]:
    return chat({"role": "user", "content": [fields]})


def result(**fields: Any) -> dict[str, Any]:
    asked = {"role": "assistant", "tool_calls": [CALL]}
    return chat(HI, asked, {**RESULT, **fields}, tools=[NESTED])


def items(*given: Any) -> dict[str, Any]:
    return {"input": list(given), "tools": [FLAT]}


IN_CHAT: list[tuple[dict[str, Any], set[str]]] = [
    (chat(input="x"), {"input"}),
    (chat(**{"": 1}), {'""'}),
    (chat({**HI, "": 1}), {'messages[0].""'}),
    (chat({"role": "user", "content": None}, HI), {"messages[0].content"}),
    (chat({"role": "user"}, HI), {"messages[0].content"}),
    (chat({"role": "system", "content": None}, HI), {"messages[0].content"}),
    (chat(HI, {"role": "assistant", "content": None}), set()),
    (chat(tools=[NESTED], function_call="none"), {"function_call"}),
    (chat(functions=[LOOK], tool_choice="required"), {"tool_choice"}),
    (chat(functions=[LOOK], parallel_tool_calls=True), {"parallel_tool_calls"}),
    (chat(functions=[LOOK], function_call="auto"), set()),
    (
        chat(tools=[{**NESTED, "name": "n", "description": "d", "strict": True}]),
        {f"tools[0].{name}" for name in ("name", "description", "strict")},
    ),
    (
        chat(
            tools=[
                {"function": {**LOOK, "cache_control": CACHE}, "cache_control": CACHE}
            ]
        ),
        {"tools[0].cache_control"},
    ),
    (
        chat(tools=[{"type": "custom", "name": "cut", "parameters": {"title": "t"}}]),
        {"tools[0].parameters"},
    ),
    (chat({**HI, "tool_call_id": "c"}), {"messages[0].tool_call_id"}),
    (chat({**HI, "is_error": True}), {"messages[0].is_error"}),
    (chat({**HI, "tool_calls": [CALL]}), {"messages[0].tool_calls"}),
    (
        chat({"role": "system", "content": "s", "tool_calls": [CALL]}, HI),
        {"messages[0].tool_calls"},
    ),
    (chat(HI, {**SAID, "tool_call_id": "c"}, HI), {"messages[1].tool_call_id"}),
    (chat(HI, {"role": "assistant", "content": []}, HI), {"messages[1].content"}),
    (result(refusal="no"), {"messages[2].refusal"}),
    (result(tool_calls=[CALL]), {"messages[2].tool_calls"}),
    (result(reasoning_content="hm"), {"messages[2].reasoning_content"}),
    (result(is_error=False), set()),
    (
        part(type="text", text="a", title="t", image_url=URL),
        {"messages[0].content[0].title", "messages[0].content[0].image_url"},
    ),
    (
        part(type="image_url", image_url=URL, text="t", filename="f"),
        {"messages[0].content[0].text", "messages[0].content[0].filename"},
    ),
    (
        part(
            type="file",
            file={"file_data": "data:text/plain;base64,YWJj"},
            citations={"enabled": True},
        ),
        {"messages[0].content[0].citations"},
    ),
    (
        chat(response_format={"type": "json_object", "schema": {"title": "t"}}),
        {"response_format.schema"},
    ),
]
IN_RESPONSES: list[tuple[dict[str, Any], set[str]]] = [
    (
        items({**HI, "output": "x", "call_id": "c", "summary": ["s"], "input": "i"}),
        {"input[0].output", "input[0].call_id", "input[0].input"},
    ),
    (
        items(HI, {**CALLED, "input": "i", "content": "x"}, {**OUTPUT, "name": "n"}),
        {"input[1].input", "input[1].content", "input[2].name"},
    ),
    (
        {
            "input": "x",
            "tools": [{"type": "shell", "name": "n", "description": "d"}],
        },
        {"tools[0].name", "tools[0].description"},
    ),
    (
        {"input": "x", "tools": [{"type": "custom", "name": "cut", "strict": True}]},
        {"tools[0].strict"},
    ),
]
IN_MESSAGES: list[tuple[dict[str, Any], set[str]]] = [
    (
        {
            "messages": [
                HI,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": i, "name": "look", "input": {}}
                        for i in ("a", "b")
                    ],
                },
                *(
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": i}],
                        "novel": 1,
                    }
                    for i in ("a", "b")
                ),
            ],
            "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        },
        {"messages[3].novel"},
    )
]
CASES = [
    *((CHAT, *case) for case in IN_CHAT),
    *((RESPONSES, *case) for case in IN_RESPONSES),
    *((MESSAGES, *case) for case in IN_MESSAGES),
]


@pytest.mark.parametrize(("api", "body", "named"), CASES)
def test_a_field_of_another_type_is_named(
    api: API, body: dict[str, Any], named: set[str]
) -> None:
    assert api.ask(**body).named == named


def test_the_name_of_a_choice_of_another_type_is_sent() -> None:
    """The provider refuses it in words."""
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    choice = {"type": "auto", "name": "look"}
    outcome = MESSAGES.ask(tools=tools, tool_choice=choice)
    assert outcome.body["tool_choice"] == choice
    assert outcome.named == set()


def test_a_call_in_the_form_of_the_messages_api_keeps_its_breakpoint() -> None:
    use = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    told = [HI, {"role": "assistant", "content": [{**use, "cache_control": CACHE}]}]
    outcome = CHAT.ask(messages=[*told, RESULT, HI], tools=[NESTED])
    assert outcome.body["messages"][1]["content"] == [{**use, "cache_control": CACHE}]
