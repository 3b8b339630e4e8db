"""Requests of the Messages API as prompts of native mode."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from ccproxy.claude.native.prompt import (
    DocumentBlock,
    Effort,
    ImageBlock,
    NativeQuestion,
    PromptMessage,
    PromptTool,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.claude.native.request import translate
from ccproxy.core import blocks, messages
from ccproxy.core.errors import InvalidRequest, MissingParameter

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
LOOK = messages.Tool.decode(b'{"name":"look","input_schema":{"type":"object"}}')
JSON_ANSWER = blocks.parsed(messages.OutputValue, format={"type": "json_object"})
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def asked(*turns: messages.Message, **fields: Any) -> messages.MessagesRequest:
    return messages.MessagesRequest(messages=turns, **fields)


def turn(role: str, *content: blocks.Block | str, at: str = "") -> messages.Message:
    made = tuple(blocks.text_block(b) if isinstance(b, str) else b for b in content)
    return messages.Message(role, made, at)


def user(*content: blocks.Block | str) -> messages.Message:
    return turn("user", *content, at="messages[0]")


def told(request: messages.MessagesRequest, **options: Any) -> NativeQuestion:
    return translate(request, **{"model": "sonnet", "effort": None, **options})


def spoken(request: messages.MessagesRequest) -> list[PromptMessage]:
    return list(told(request).prompt.messages)


def test_plain_question() -> None:
    request = asked(
        user("hello"), system="Be brief.", max_tokens=9, stop_sequences=("X",)
    )
    translated = told(request, effort=Effort.HIGH)
    prompt = translated.prompt
    assert (prompt.model, prompt.system, prompt.max_tokens) == (
        "sonnet",
        "Be brief.",
        9,
    )
    assert (prompt.stop, prompt.effort) == (("X",), Effort.HIGH)
    assert prompt.messages == (PromptMessage(Role.USER, (TextBlock("hello"),)),)
    assert (translated.adjusted, translated.ignored) == ((), ())


def test_every_block_that_the_cli_can_be_told() -> None:
    text = blocks.Block.make(
        "document",
        source={"type": "text", "media_type": "text/plain", "data": "note"},
        title="t",
        context="c",
    )
    made = blocks.Block.make(
        "document",
        source={"type": "content", "content": [{"type": "text", "text": "x"}]},
    )
    url = blocks.Block.make("image", source={"type": "url", "url": "https://x/y"})
    [only] = spoken(
        asked(user(blocks.Block.make("image", source=PNG), url, text, made))
    )
    assert only.content == (
        ImageBlock("image/png", PNG["data"]),
        ImageBlock(None, "https://x/y"),
        DocumentBlock("text/plain", "note", "t", "c"),
        DocumentBlock("text/plain", "x"),
    )


def test_calls_results_and_thinking() -> None:
    request = asked(
        user("hello"),
        turn(
            "assistant",
            blocks.thinking_block("hm", "sig"),
            blocks.redacted_thinking_block("secret"),
            blocks.tool_use_block("toolu_1", "look", {"a": 1}),
        ),
        user(
            blocks.tool_result_block(
                "toolu_1",
                [blocks.text_block("b"), blocks.Block.make("image", source=PNG)],
                is_error=True,
            )
        ),
    )
    _, answer, result = spoken(request)
    assert answer.content == (
        ThinkingBlock("hm", "sig"),
        RedactedThinkingBlock("secret"),
        ToolUseBlock("toolu_1", "look", {"a": 1}),
    )
    shown = (TextBlock("b"), ImageBlock("image/png", PNG["data"]))
    assert result.content == (ToolResultBlock("toolu_1", shown, True),)


@pytest.mark.parametrize(
    ("more", "applied"),
    [
        ({}, ("\n", " ")),
        ({"output_config": JSON_ANSWER}, ()),
        ({"tool_choice": messages.ToolChoice("any"), "tools": (LOOK,)}, ()),
    ],
)
def test_the_proxy_applies_stop_sequences_of_white_space(
    more: dict[str, Any], applied: tuple[str, ...]
) -> None:
    """An answer with a required form is not cut at white space."""
    translated = told(asked(user("hi"), stop_sequences=("\n", "X", " "), **more))
    prompt = translated.prompt
    assert (prompt.stop, prompt.blank_stops) == (("X",), applied)
    named = (translated.adjusted, translated.ignored)
    told_as = ("stop_sequences",)
    assert named == ((told_as, ()) if applied else ((), told_as))


def test_what_has_no_place_is_named() -> None:
    odd = blocks.Block.make("container_upload", at="messages[0].content[1]", x=1)
    server_tool = messages.Tool.decode(b'{"type":"code_execution_x","name":"c"}')
    request = asked(
        user("hello", odd),
        tools=(server_tool,),
        extra={"temperature": Raw(b"0.5"), "service_tier": Raw(b'"auto"')},
        thinking=blocks.parsed(
            messages.ThinkingValue, type="enabled", budget_tokens=2000
        ),
    )
    assert told(request).ignored == (
        "tools[0]",
        "temperature",
        "service_tier",
        "thinking",
        "messages[0].content[1]",
    )


def test_system_messages_in_the_middle_are_moved_and_named() -> None:
    request = asked(
        user("hello"),
        turn("system", "Be nice.", at="messages[1]"),
        user("you"),
        system="Be brief.",
    )
    translated = told(request)
    assert translated.prompt.system == "Be brief.\n\nBe nice."
    assert translated.adjusted == ("messages[1]",)
    [only] = translated.prompt.messages
    assert only.content == (TextBlock("hello"), TextBlock("you"))


def test_sampling_is_sent_where_the_operator_says_so() -> None:
    request = asked(user("hello"), extra={"temperature": Raw(b"0.5")})
    translated = told(request, forward_sampling=True)
    assert translated.prompt.sampling == {"temperature": 0.5}
    assert translated.ignored == ()


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        (None, ["one", "two"], False),
        (messages.ToolChoice("auto"), ["one", "two"], False),
        (messages.ToolChoice("none"), [], False),
        (messages.ToolChoice("any"), ["one", "two"], True),
        (messages.ToolChoice("tool", name="two"), ["two"], True),
    ],
)
def test_tool_choice(
    choice: messages.ToolChoice | None, names: list[str], must_call: bool
) -> None:
    tools = tuple(messages.client_tool(n, "d", SCHEMA) for n in ("one", "two"))
    prompt = told(asked(user("hello"), tools=tools, tool_choice=choice)).prompt
    assert prompt.tools == tuple(PromptTool(name, "d", SCHEMA) for name in names)
    assert prompt.must_call is must_call


def test_a_search_of_the_web_is_the_operators_to_allow() -> None:
    request = asked(user("go"), web_searches=(messages.WebSearch(at="tools[0]"),))
    assert told(request).ignored == ("tools[0]",)
    assert told(request, web_search=True).ignored == ()


def test_one_call_at_a_time() -> None:
    tools = (messages.client_tool("one", None, SCHEMA),)
    choice = messages.ToolChoice("auto", disable_parallel_tool_use=True)
    request = asked(user("hello"), tools=tools, tool_choice=choice)
    assert told(request).prompt.parallel_calls is False


def form(kind: str, **fields: object) -> messages.OutputConfig:
    return blocks.parsed(messages.OutputValue, format={"type": kind, **fields})


def test_form_of_the_answer() -> None:
    request = asked(user("hello"), output_config=form("json_schema", schema=SCHEMA))
    assert told(request).prompt.schema == SCHEMA
    anything = told(asked(user("hello"), output_config=form("json_object")))
    assert anything.prompt.schema == {"type": "object", "additionalProperties": True}
    wrong = form("json_schema", schema={"type": "array"})
    with pytest.raises(InvalidRequest) as raised:
        told(asked(user("hello"), output_config=wrong))
    assert raised.value.param == "output_config.format"


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (asked(), "messages"),
        (asked(user(" \n")), "messages[0].content"),
        (
            asked(user("hello"), turn("assistant", "Hi", at="messages[1]")),
            "messages[1].role",
        ),
        (
            asked(
                user("hello"),
                turn("assistant", blocks.tool_use_block("a", "look", {})),
                user("and?"),
            ),
            "messages",
        ),
    ],
)
def test_what_cannot_be_asked(request_: messages.MessagesRequest, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        told(request_)
    assert raised.value.param == param


def test_tool_without_a_schema() -> None:
    tool = messages.Tool.decode(b'{"name":"look"}', "tools[0].function")
    with pytest.raises(MissingParameter) as raised:
        told(asked(user("hello"), tools=(tool,)))
    assert raised.value.param == "tools[0].function.input_schema"


def test_call_that_is_demanded_of_nothing() -> None:
    request = asked(user("hello"), tool_choice=messages.ToolChoice("any"))
    with pytest.raises(InvalidRequest) as raised:
        told(request)
    assert raised.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("given", "sent"),
    [("text", {"arguments": "text"}), ('{"a": 1}', {"a": 1}), (None, {}), ([1], None)],
)
def test_arguments_that_are_no_object(given: Any, sent: Any) -> None:
    call = blocks.tool_use_block(
        "a", "look", Raw(msgspec.json.encode(given)), at="messages[1].content[0]"
    )
    result = blocks.tool_result_block("a", "x", at="messages[2].content[0]")
    translated = told(
        asked(user("hello"), turn("assistant", call, at="messages[1]"), user(result))
    )
    _, answer, _ = translated.prompt.messages
    wanted = {"arguments": given} if sent is None else sent
    assert answer.content == (ToolUseBlock("a", "look", wanted),)
    assert translated.adjusted == ("messages[1].content[0].input",)


def test_calls_with_the_same_id_are_paired_in_order_and_named() -> None:
    at = "messages[1].content"
    calls = [
        blocks.tool_use_block("a", name, {}, at=f"{at}[{n}]")
        for n, name in enumerate(("one", "two"))
    ]
    results = [blocks.tool_result_block("a", said) for said in ("x", "y")]
    translated = told(
        asked(user("hello"), turn("assistant", *calls, at="m"), user(*results))
    )
    _, answer, last = translated.prompt.messages
    ids = [getattr(block, "id", "") for block in answer.content]
    assert ids[0] == "a"
    assert len(set(ids)) == 2
    assert [getattr(block, "tool_use_id", "") for block in last.content] == ids
    assert translated.adjusted == (f"{at}[1].id",)


def test_a_second_result_is_one_too_many() -> None:
    call = blocks.tool_use_block("a", "look", {})
    results = [blocks.tool_result_block("a", said) for said in ("x", "y")]
    with pytest.raises(InvalidRequest, match="one too many"):
        told(asked(user("hello"), turn("assistant", call), user(*results)))


def test_fields_that_the_cli_does_not_take_are_named() -> None:
    tool = messages.Tool.decode(
        b'{"name":"look","input_schema":{"type":"object"},"strict":true,'
        b'"defer_loading":true,"input_examples":[{}],"cache_control":null}',
        "tools[0]",
    )
    reference = blocks.Block.make(
        "tool_reference", at="messages[2].content[0].content[0]", tool_name="look"
    )
    text = blocks.Block.make(
        "text", at="messages[0].content[0]", text="a", cache_control={"type": "e"}
    )
    call = blocks.tool_use_block("a", "look", {}, at="messages[1].content[0]")
    result = blocks.tool_result_block("a", [reference], at="messages[2].content[0]")
    choice = messages.ToolChoice("auto", extra={"novel": Raw(b"1")})
    request = asked(
        user(text),
        turn("assistant", call, at="messages[1]"),
        user(result),
        tools=(tool,),
        tool_choice=choice,
        output_config=blocks.parsed(messages.OutputValue, novel=1),
    )
    assert set(told(request).ignored) == {
        *("tools[0].strict", "tools[0].defer_loading", "tools[0].input_examples"),
        *("tool_choice.novel", "output_config.novel"),
        "messages[0].content[0].cache_control",
        "messages[2].content[0].content[0]",
    }


def test_a_choice_without_tools_is_named() -> None:
    choice = messages.ToolChoice("auto", disable_parallel_tool_use=True)
    translated = told(asked(user("hello"), tool_choice=choice))
    assert translated.ignored == ("tool_choice.disable_parallel_tool_use",)
