"""Requests of the Messages API: decoded, passed on unchanged, or refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.messages.request import decode_messages
from ccproxy.api.messages.stream import ThinkingForm
from ccproxy.core.errors import (
    ClientError,
    InvalidRequest,
)
from ccproxy.core.messages import (
    Message,
    MessagesRequest,
    ToolChoice,
)
from tests.unit.api.messages.samples import HELLO, SHOWN, SIGNED_ONLY, decode, refused

SCHEMA = {"type": "object", "properties": {}}
PNG = "iVBORw0KGgo="


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": [*blocks]}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": [*blocks]}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def written(message: Message) -> dict[str, Any]:
    """A message as the Messages API has it."""
    content: Any = message.content
    if not isinstance(content, str):
        content = [json.loads(block.raw) for block in content]
    extra = {name: json.loads(bytes(raw)) for name, raw in message.extra.items()}
    return {"role": message.role, "content": content, **extra}


def body_of(request: MessagesRequest) -> dict[str, Any]:
    """The fields of a request that are passed on as they came."""
    body: dict[str, Any] = {
        "messages": [written(message) for message in request.messages],
        "model": request.model,
        **{name: json.loads(bytes(raw)) for name, raw in request.extra.items()},
    }
    if request.tools:
        body["tools"] = [json.loads(tool.raw) for tool in request.tools]
    for name in ("thinking", "output_config"):
        config = getattr(request, name)
        if config is not None:
            body[name] = json.loads(config.raw)
    return body


def test_a_bare_request() -> None:
    call = decode(max_tokens=5)
    assert call.request == MessagesRequest(
        messages=(Message("user", "hello"),),
        model="sonnet",
        max_tokens=5,
        shows_thinking=False,
        default_thinking="api",
    )
    assert not call.stream
    assert (call.ignored, call.adjusted) == ((), ())


def test_what_is_absent_may_be_null() -> None:
    names = [
        *("system", "max_tokens", "stop_sequences", "tools", "tool_choice", "thread"),
        *("thinking", "output_config", "output_format", "temperature", "metadata"),
        *("stream", "container", "of_tomorrow"),
    ]
    assert decode(**dict.fromkeys(names)) == decode()
    assert decode(model=None).request.model == ""


CONVERSATION = [
    user(
        {**text("Look."), "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {
            "type": "document",
            "title": "t",
            "citations": {"enabled": True},
            "source": {"type": "text", "media_type": "text/plain", "data": "\ufeffa"},
        },
        {"type": "search_result", "source": "x", "title": "t", "content": [text("a")]},
        {"type": "of_tomorrow", "field": [1.50, None]},
    ),
    assistant(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {**text("So."), "citations": [{"type": "char_location", "cited_text": "a"}]},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"a": 1}},
        {"type": "tool_use", "id": "b.1", "name": "t", "input": {"x": 2**70}},
        {"type": "tool_use", "id": "a", "name": "t", "input": {}},
    ),
    user(
        {"type": "tool_result", "tool_use_id": "a", "content": "no", "is_error": True},
        text("and"),
        {"type": "tool_result", "tool_use_id": "b.1", "content": [text("1"), text("")]},
    ),
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "x", "of_tomorrow": True},
    {"role": "assistant", "content": "A prefill"},
]


FIELDS_AS_THEY_CAME = {
    "tools": [
        {"type": "web_search_20260209", "name": "web_search", "max_uses": 3},
        {
            "name": "b.c",
            "description": "d" * 5000,
            "strict": True,
            "input_schema": {"anyOf": [SCHEMA]},
            "defer_loading": True,
        },
        {"type": "custom", "name": "a", "input_schema": SCHEMA},
    ],
    "thinking": {"type": "of_tomorrow", "budget_tokens": 1024, "new": 1},
    "output_config": {"effort": "high", "task_budget": {"total": 5}},
    "temperature": 0.5,
    "top_k": 5,
    "context_management": {"edits": []},
    "fallbacks": [{"model": "haiku"}],
    "speed": "fast",
    "service_tier": "auto",
    "cache_control": {"type": "ephemeral"},
    "of_tomorrow": {"a": [1, 2.50]},
}


def test_everything_is_passed_on_as_it_came() -> None:
    call = decode(*CONVERSATION, **FIELDS_AS_THEY_CAME)
    wanted = {"messages": CONVERSATION, "model": "sonnet", **FIELDS_AS_THEY_CAME}
    assert body_of(call.request) == wanted
    assert (call.ignored, call.adjusted) == ((), ())


def test_every_part_knows_where_it_stands() -> None:
    request = decode(*CONVERSATION, **FIELDS_AS_THEY_CAME).request
    assert [message.at for message in request.messages] == [
        f"messages[{index}]" for index in range(6)
    ]
    assert request.messages[1].blocks[2].at == "messages[1].content[2]"
    assert request.messages[4].blocks[0].at == "messages[4].content"
    assert [tool.at for tool in request.tools] == ["tools[0]", "tools[1]", "tools[2]"]


def test_numbers_are_not_printed_anew() -> None:
    number = b"1234567890123456789012345678901234567890.10"
    body = b'{"messages":[{"role":"user","content":"a"}],"of_tomorrow":%b}' % number
    assert bytes(decode_messages(body).request.extra["of_tomorrow"]) == number


def test_a_byte_order_mark_and_half_a_surrogate() -> None:
    body = b'\xef\xbb\xbf{"messages":[{"role":"user","content":"a\\ud83d"}]}'
    call = decode_messages(body)
    assert call.request.messages[0].content == "a\ufffd"
    assert call.adjusted == ("messages[0].content",)


@pytest.mark.parametrize(
    ("system", "told", "ignored"),
    [
        ("A", "A", ()),
        (" ", "", ("system",)),
        ([], "", ()),
        ([text("A"), text(" "), text("B")], "A\n\nB", ("system[1]",)),
        (
            [
                text("x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;"),
                {**text("A"), "cache_control": {"type": "ephemeral"}},
                {**text("B"), "cache_control": None, "citations": None},
            ],
            "A\n\nB",
            ("system[0]", "system[1].cache_control"),
        ),
    ],
)
def test_system_prompts(system: Any, told: str, ignored: tuple[str, ...]) -> None:
    call = decode(system=system)
    assert (call.request.system, call.ignored) == (told, ignored)


def test_thinking_without_a_signature_is_left_out() -> None:
    aside = {"type": "thinking", "thinking": "an aside", "signature": ""}
    call = decode(
        HELLO,
        assistant(aside, text("so")),
        assistant({"type": "thinking", "thinking": "x"}),
        HELLO,
    )
    assert [written(message) for message in call.request.messages] == [
        HELLO,
        assistant(text("so")),
        HELLO,
    ]
    assert call.request.messages[1].blocks[0].at == "messages[1].content[1]"
    assert call.ignored == ("messages[1].content[0]", "messages[2].content[0]")


NEVER = (
    "metadata",
    "betas",
    "anthropic_beta",
    "anthropic_version",
    "diagnostics",
    "tags",
)


def test_what_is_never_passed_on_is_named() -> None:
    call = decode(**dict.fromkeys(NEVER, "x"), stream=True)
    assert call.ignored == NEVER
    assert call.request == decode().request
    assert call.stream


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "none"}, ToolChoice("none")),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            ToolChoice("any", None, True),
        ),
        ({"type": "tool", "name": "b"}, ToolChoice("tool", "b")),
        (
            {"type": "auto", "newer": [1.0]},
            ToolChoice("auto", extra={"newer": msgspec.Raw(b"[1.0]")}),
        ),
    ],
)
def test_choices(choice: Any, expected: ToolChoice) -> None:
    tools = [{"name": name, "input_schema": SCHEMA} for name in "ab"]
    request = decode(tools=tools, tool_choice=choice).request
    assert request.tool_choice == expected
    assert [tool.value.name for tool in request.tools] == ["a", "b"]


def test_a_tool_may_have_no_type() -> None:
    tool = {"name": "a", "input_schema": SCHEMA}
    [found] = decode(tools=[{**tool, "type": None}]).request.tools
    assert json.loads(found.raw) == tool


@pytest.mark.parametrize(
    ("thinking", "form"),
    [
        (None, ThinkingForm()),
        ({"type": "disabled"}, ThinkingForm()),
        ({"type": "adaptive"}, SHOWN),
        ({"type": "adaptive", "display": "omitted"}, SIGNED_ONLY),
        ({"type": "enabled", "budget_tokens": 2000}, SHOWN),
        ({"type": "between_tools"}, SHOWN),
    ],
)
def test_thinking(thinking: Any, form: ThinkingForm) -> None:
    call = decode(thinking=thinking)
    assert call.thinking == form
    assert call.request.shows_thinking is form.is_shown
    config = call.request.thinking
    assert (None if config is None else json.loads(config.raw)) == thinking


def test_effort_schema_and_stops() -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    request = decode(
        output_config={"effort": "high", "format": form}, stop_sequences=["X", "Y"]
    ).request
    assert request.effort == "high"
    assert request.output_format is not None
    assert request.output_format.type == "json_schema"
    assert request.stop_sequences == ("X", "Y")


def test_the_format_may_stand_where_betas_had_it() -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    for config in (None, {}, {"effort": "low"}, {"format": None}):
        request = decode(output_config=config, output_format=form).request
        assert request.output_config is not None
        told = json.loads(request.output_config.raw)
        assert told == {**(config or {}), "format": form}
        assert "output_format" not in request.extra
    other = {"type": "json_schema", "schema": {"type": "object"}}
    request = decode(output_config={"format": other}, output_format=form).request
    assert request.output_config is not None
    assert json.loads(request.output_config.raw) == {"format": other}
    called = decode(output_config={"format": other}, output_format=form)
    assert called.ignored == ("output_format",)


def test_one_call_at_most_of_no_call_is_named() -> None:
    choice = {"type": "none", "disable_parallel_tool_use": True}
    assert decode(tool_choice=choice).ignored == (
        "tool_choice.disable_parallel_tool_use",
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"compaction": {}}, "compaction"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"safeguards": {"auto_mode": {}}}, "safeguards"),
        ({"thinking": {"budget_tokens": 5}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": []}}, "thinking"),
        ({"stop_sequences": [5]}, "stop_sequences[0]"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image", "source": {}}]}, "system[0].type"),
        ({"system": [{"text": "x"}]}, "system[0].type"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": 5}]}, "tools[0].name"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "a", "input_schema": []}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"output_config": {"effort": 5}}, "output_config.effort"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {}}}, "output_config.format.type"),
        ({"output_format": {"type": 5}}, "output_format.type"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert error.status == 400
    assert error.param is not None
    assert error.param.startswith(param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([5], "messages[0]"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([HELLO, {"role": "user"}], "messages[1].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([user("x")], "messages[0].content[0]"),
        ([user({"text": "x"})], "messages[0].content[0].type"),
        ([HELLO, user(text("x"), {"type": "text"})], "messages[1].content[1].text"),
        ([user({"type": "text", "text": 5})], "messages[0].content[0].text"),
        ([user({"type": "image"})], "messages[0].content[0].source"),
        (
            [user({"type": "tool_result", "content": "x"})],
            "messages[0].content[0].tool_use_id",
        ),
        (
            [assistant({"type": "tool_use", "id": "a"})],
            "messages[0].content[0].name",
        ),
    ],
)
def test_messages_that_are_refused(messages: list[Any], param: str) -> None:
    error = refused(*messages)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("body", [b"{}", b'{"messages":[]}', b'{"messages":null}'])
def test_there_has_to_be_a_message(body: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        decode_messages(body)
    assert caught.value.param == "messages"


def test_a_body_has_to_be_utf_8_wherever_it_is_not_looked_at() -> None:
    body = b'{"messages":[{"role":"user","content":"a"}],"x":"\xff"}'
    with pytest.raises(InvalidRequest, match="UTF-8"):
        decode_messages(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


WORDS = st.sampled_from(["a", "b", "", "https://x.org/a", PNG, "base64", "url", "text"])
KINDS = st.sampled_from(
    [
        "text",
        "image",
        "document",
        "search_result",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        "server_tool_use",
        "other",
    ]
)


SOURCES = st.fixed_dictionaries(
    {"type": st.sampled_from(["base64", "url", "text", "content", "file"])},
    optional=dict.fromkeys(("media_type", "data", "url", "file_id", "content"), WORDS),
)


BLOCKS = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        **dict.fromkeys(
            (
                "text",
                "id",
                "name",
                "tool_use_id",
                "thinking",
                "signature",
                "data",
                "title",
                "content",
            ),
            WORDS,
        ),
        "source": SOURCES | WORDS,
        "input": st.dictionaries(WORDS, JSON, max_size=2),
        "is_error": st.booleans(),
    },
)


MESSAGES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "other"]),
        "content": WORDS | st.lists(BLOCKS, max_size=4),
    }
)


FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "max_tokens",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "stop_sequences",
            "temperature",
            "thread",
            "stream",
        ]
    ),
    JSON,
    max_size=4,
)


@given(st.lists(MESSAGES, max_size=5), FIELDS)
def test_any_request_is_decoded_or_refused(messages: Any, fields: Any) -> None:
    body = {"messages": messages, **fields}
    try:
        call = decode_messages(json.dumps(body).encode())
    except ClientError as error:
        assert error.message
        return
    told = body_of(call.request)
    for name in ("temperature", "tools"):
        assert told.get(name) == (body.get(name) or None)
    unsigned = {path for path in call.ignored if path.startswith("messages")}
    if not unsigned:
        assert told["messages"] == messages


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    with pytest.raises(ClientError):
        decode_messages(body)


def test_empty_stop_sequences_are_left_out_and_named() -> None:
    """An empty sequence would end every answer before its first letter."""
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    ends = {"stop_sequences": ["", "END", "\n"]}
    decoded = decode_messages(json.dumps({**body, **ends}).encode())
    assert decoded.request.stop_sequences == ("END", "\n")
    assert decoded.ignored == ("stop_sequences[0]",)
