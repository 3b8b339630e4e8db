"""Fields of objects that the proxy writes anew: choices of tools, and formats.

Fields may be newer than the proxy. In OpenAI's APIs they are named as ignored. In the
Messages API they are sent.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.three_apis import API, CHAT, MESSAGES, RESPONSES, by_name

CHOICES: Sequence[tuple[dict[str, Any], str]] = [
    ({"type": "auto", "newer": 1}, "tool_choice.newer"),
    (
        {"type": "function", "function": {"name": "t0", "newer": 1}},
        "tool_choice.function.newer",
    ),
    (
        {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "t0", "newer": 1}],
        },
        "tool_choice.tools[0].newer",
    ),
]


@pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=by_name)
@pytest.mark.parametrize(("choice", "path"), CHOICES)
def test_unknown_fields_of_a_choice_are_named(
    choice: dict[str, Any], path: str, api: API
) -> None:
    tools = api.tools({"type": "object"})
    asked = api.ask(tools=tools, tool_choice=choice)
    assert asked.named - {"tool_choice"} == {path}


@pytest.mark.parametrize(
    "schema", [{"minLength": 3, "type": "string"}, {"type": "string"}]
)
def test_newer_fields_of_a_format_and_a_choice_are_sent(schema: Any) -> None:
    form = {"newer": 1, "type": "json_schema", "schema": schema}
    body = MESSAGES.ask(
        tools=MESSAGES.tools({"type": "object"}),
        tool_choice={"type": "none", "newer": 2},
        output_config={"format": form},
    ).body
    sent = {**form, "schema": {"type": "string"}}
    assert body["output_config"]["format"] == sent
    assert body["tool_choice"] == {"type": "none", "newer": 2}


def test_a_required_call_of_a_function_is_named_as_the_client_calls_it() -> None:
    asked = CHAT.ask(functions=[{"name": "a"}], function_call={"name": "a"})
    assert asked.named == {"function_call"}
