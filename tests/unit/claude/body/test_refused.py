"""The same request once more, without what the provider has refused."""

import json
from typing import Any

import pytest

from ccproxy.claude.body.compose import Composition
from tests.support.composed import (
    HAIKU_4_5,
    assistant,
    body_of,
    composed,
    request,
    text,
    thought,
    tool,
    user,
)

# As they were reported to the public.
TOO_LARGE = (
    "The compiled grammar is too large, which would cause performance issues. "
    "Simplify your tool schemas or reduce the number of strict tools."
)
TOO_COMPLEX = (
    "Schema is too complex for compilation. Try reducing the number of tools or "
    "simplifying tool schemas."
)
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
STRICT = tool(strict=True, input_schema=CLOSED)
FORMAT: dict[str, Any] = {"format": {"type": "json_schema", "schema": CLOSED}}


def _again(asked: Composition, message: str) -> Composition:
    found = asked.without_refused(message)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "message",
    [
        "messages.1.content.0: thinking is bound to a different conversation",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "messages.7.content.2: Invalid signature in thinking block",
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    ],
)
def test_thinking_is_left_out_and_named(message: str) -> None:
    asked = composed(request([user("a"), assistant(thought(), "b"), user("c")]))
    plain = _again(asked, message)
    assert body_of(plain)["messages"][1] == assistant(text("b"))
    assert body_of(plain).get("thinking") == body_of(asked).get("thinking")
    assert asked.ignored == ()
    assert plain.ignored == ("messages[1].content[0]",)
    assert plain.without_refused(message) is None


@pytest.mark.parametrize("message", [TOO_LARGE, TOO_COMPLEX, f"tools: {TOO_LARGE}"])
def test_tools_are_no_longer_strict_and_named(message: str) -> None:
    asked = composed(request("a", tools=[tool("b"), STRICT]))
    assert body_of(asked)["tools"][1] == STRICT
    plain = _again(asked, message)
    assert body_of(plain)["tools"] == [tool("b"), tool(input_schema=CLOSED)]
    assert (asked.adjusted, plain.adjusted) == ((), ("tools[1].strict",))
    assert plain.without_refused(message) is None


@pytest.mark.parametrize("prefix", ["", "output_config.format.schema: Invalid: "])
def test_a_format_becomes_a_tool_and_is_named(prefix: str) -> None:
    asked = composed(request("a", output_config=FORMAT))
    assert body_of(asked)["output_config"] == FORMAT
    plain = _again(asked, prefix + TOO_LARGE)
    assert "output_config" not in body_of(plain)
    assert [each["name"] for each in body_of(plain)["tools"]] == ["structured_output"]
    assert plain.adjusted == ("output_config.format",)
    assert plain.plan.answer_tool is not None
    assert plain.without_refused(TOO_LARGE) is None


def test_strict_goes_before_the_format_and_both_may_go() -> None:
    asked = composed(request("a", tools=[STRICT], output_config=FORMAT))
    loose = _again(asked, TOO_LARGE)
    assert body_of(loose)["output_config"] == FORMAT
    assert "strict" not in json.dumps(body_of(loose)["tools"])
    plain = _again(loose, TOO_LARGE)
    assert "output_config" not in body_of(plain)
    assert "strict" not in json.dumps(body_of(plain)["tools"])
    assert set(plain.adjusted) == {"tools[0].strict", "output_config.format"}
    assert plain.without_refused(TOO_LARGE) is None
    by_path = _again(asked, f"output_config.format.schema: {TOO_LARGE}")
    assert body_of(by_path)["tools"][0] == STRICT


@pytest.mark.parametrize("message", ["tools.0: is wrong", TOO_LARGE, "bound to"])
def test_nothing_else_is_sent_again(message: str) -> None:
    told = [user("a"), assistant(thought(), "b"), user("c")]
    assert composed(request(told, tools=[tool()])).without_refused(message) is None
    assert composed(request("a"), HAIKU_4_5).without_refused(message) is None
