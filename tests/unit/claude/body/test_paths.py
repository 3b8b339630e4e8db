"""The provider's paths, translated to the client's."""

import pytest
from attrs import evolve

from ccproxy.claude.body.result import ClientPath
from ccproxy.core.messages import client_tool
from tests.support.composed import (
    assistant,
    call,
    composed,
    request,
    result,
    system,
    text,
    user,
)


@pytest.fixture(name="client_path")
def _client_path() -> ClientPath:
    made = client_tool(
        "look",
        None,
        {"type": "object"},
        at="tools[4].function",
        renamed={"input_schema": "parameters"},
    )
    told = [
        user(" ", "hi"),
        assistant(""),
        assistant("I look.", call("a")),
        user(text("x"), result("a")),
        system("be brief"),
        user("so?"),
        assistant(call("b")),
        user(result("b")),
    ]
    asked = request(told, tool_choice={"type": "any"})
    names = {"max_tokens": "max_completion_tokens"}
    *before, turn, after = asked.messages
    renamed = evolve(turn.blocks[0], renamed={"input": "function.arguments"})
    turns = (*before, evolve(turn, content=(renamed,)), after)
    asked = evolve(asked, messages=turns, tools=(made,), paths=names)
    return composed(asked).body.client_path


@pytest.mark.parametrize(
    ("told", "clients"),
    [
        ("messages.0", "messages[0]"),
        ("messages.0.content.0", "messages[0].content[1]"),
        ("messages.0.content.0.text", "messages[0].content[1].text"),
        ("messages.1.content.1.tool_use.input", "messages[2].content[1].input"),
        (
            "messages.1.content.1.tool_use.input.a.0",
            "messages[2].content[1].input.a[0]",
        ),
        # Results are in front there.
        ("messages.2.content.0", "messages[3].content[1]"),
        ("messages.2.content.1.text", "messages[3].content[0].text"),
        ("messages.3", "messages[5]"),
        ("messages.4.content.0", "messages[4].content"),
        ("messages.4.content.0.text", "messages[4].content.text"),
        (
            "messages.5.content.0.tool_use.input.a",
            "messages[6].content[0].function.arguments.a",
        ),
        ("messages.99.content.0.tool_use.input", None),
        ("tools.0", "tools[4].function"),
        ("tools.0.custom", "tools[4].function"),
        ("tools.0.custom.input_schema", "tools[4].function.parameters"),
        (
            "tools.0.custom.input_schema.properties.a",
            "tools[4].function.parameters.properties.a",
        ),
        ("tools.0.custom.name", "tools[4].function.name"),
        ("max_tokens", "max_completion_tokens"),
        ("thinking.budget_tokens", "thinking.budget_tokens"),
        ("system.2", "system"),
        ("messages.99", None),
        ("tools.7", None),
    ],
)
def test_a_path_of_the_provider_becomes_the_clients(
    client_path: ClientPath, told: str, clients: str | None
) -> None:
    assert client_path(told) == clients


def test_parts_that_the_proxy_adds_have_no_path(client_path: ClientPath) -> None:
    assert client_path("messages.4.content.1") is None
