"""The Messages dialect: requests, messages and streams."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.api.messages.request import DecodedMessagesRequest, decode_messages
from ccproxy.api.messages.response import MessageDocument
from ccproxy.api.messages.schemas import MessageMeta
from ccproxy.api.messages.stream import MessageStream
from ccproxy.api.messages.thinking import ThinkingForm
from ccproxy.api.models.anthropic import model_page
from ccproxy.core.errors import (
    CCProxyError,
    ClaudeFailed,
    ClientError,
    InsufficientQuota,
    InternalError,
    InvalidKey,
    InvalidRequest,
    ModelNotFound,
    NotLoggedIn,
    NotSupported,
    Overloaded,
    QueueFull,
    RateLimited,
    RequestTooLarge,
    ShuttingDown,
    ThreadsUnsupported,
    TimedOut,
)
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.messages import (
    Block,
    Message,
    MessagesRequest,
    ToolChoice,
    text_block,
    thinking_block,
    tool_use_block,
)
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
    Usage,
)
from ccproxy.web.error_formats import anthropic_error, anthropic_status
from ccproxy.web.sse import WireEvent

HELLO = {"role": "user", "content": "hello"}
HEADING = MessageMeta(id="msg_1", request_id="req_1")
SHOWN = ThinkingForm(is_shown=True)
SIGNED_ONLY = ThinkingForm(is_shown=True, has_text=False)
USAGE = Usage(input_tokens=3, cache_read_tokens=2, output_tokens=7, thinking_tokens=4)
FINISHED = Finished("end_turn", USAGE)
CALLED = Finished("tool_use", USAGE)
START = MessageStart("claude-test-1", Usage(input_tokens=3), "msg_of_the_provider")
SCHEMA = {"type": "object", "properties": {}}
PNG = "iVBORw0KGgo="


def decode(*messages: Any, **fields: Any) -> DecodedMessagesRequest:
    body = {"messages": messages or [HELLO], "model": "sonnet", **fields}
    return decode_messages(json.dumps(body).encode())


def refused(*messages: Any, **fields: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        decode(*messages, **fields)
    return caught.value


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


# Requests.


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
        (" ", "", ()),
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
    "safeguards",
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


# Answers.


def frames(events: Sequence[WireEvent]) -> list[dict[str, Any]]:
    """The events of a stream; their form is checked on the way."""
    told = [json.loads(event.data) for event in events]
    assert [event.name for event in events] == [event["type"] for event in told]
    return told


def streamed(*events: Event, thinking: ThinkingForm = SHOWN) -> list[dict[str, Any]]:
    return frames(MessageStream(HEADING, thinking).encode(events))


def document(*events: Event, thinking: ThinkingForm = SHOWN) -> dict[str, Any]:
    collector = MessageDocument(HEADING, thinking)
    collector.receive(events)
    assert collector.is_over
    message: dict[str, Any] = json.loads(collector.encode())
    return message


def accumulated(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of a stream; checks the order on the way."""
    assert [event["type"] for event in told[:2]] == ["message_start", "ping"]
    message: dict[str, Any] = told[0]["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    pieces: list[str] = []
    is_open = False
    for event in told[2:-2]:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
                is_open, pieces = True, []
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(message["content"]) - 1
                _add(message["content"][-1], event["delta"], pieces)
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(message["content"]) - 1
                block = message["content"][-1]
                if "input" in block and pieces:
                    block["input"] = json.loads("".join(pieces))
                is_open = False
            case other:
                raise AssertionError(other)
    assert not is_open
    assert [event["type"] for event in told[-2:]] == ["message_delta", "message_stop"]
    return {**message, **told[-2]["delta"], "usage": told[-2]["usage"]}


def _add(block: dict[str, Any], delta: dict[str, Any], pieces: list[str]) -> None:
    match delta:
        case {"type": "text_delta", "text": piece}:
            assert block["type"] == "text"
            block["text"] += piece
        case {"type": "thinking_delta", "thinking": piece}:
            assert block["type"] == "thinking"
            block["thinking"] += piece
        case {"type": "citations_delta", "citation": citation}:
            block.setdefault("citations", []).append(citation)
        case {"type": "signature_delta", "signature": signature}:
            assert block["type"] == "thinking"
            block["signature"] = signature
        case {"type": "input_json_delta", "partial_json": piece}:
            assert block["type"] == "tool_use"
            pieces.append(piece)
        case other:
            raise AssertionError(other)


def said(*pieces: str, index: int = 0) -> list[Event]:
    """A block of text as the provider streams it."""
    deltas = [TextDelta(piece, index) for piece in pieces]
    began = ContentBlockStart(text_block(""), index)
    return [began, *deltas, ContentBlockStop(index)]


def called(*pieces: str, identifier: str = "a", index: int = 0) -> list[Event]:
    """A call as the provider streams it."""
    deltas = [InputJSONDelta(piece, index) for piece in pieces]
    began = ContentBlockStart(tool_use_block(identifier, "t", {}), index)
    return [began, *deltas, ContentBlockStop(index)]


def thought(*pieces: str, signature: str = "s", index: int = 0) -> list[Event]:
    """A block of thinking as the provider streams it."""
    deltas: list[Event] = [ThinkingDelta(piece, index) for piece in pieces]
    if signature:
        deltas.append(SignatureDelta(signature, index))
    began = ContentBlockStart(thinking_block("", ""), index)
    return [began, *deltas, ContentBlockStop(index)]


def whole(raw: dict[str, Any], index: int = 0) -> list[Event]:
    """A block that is whole at once."""
    block = Block.decode(json.dumps(raw).encode())
    return [ContentBlockStart(block, index), ContentBlockStop(index)]


def test_a_stream_of_text() -> None:
    told = streamed(START, *said("one", " \u2028two"), FINISHED)
    assert [event["type"] for event in told] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start = told[0]["message"]
    assert (start["id"], start["model"]) == ("msg_1", "claude-test-1")
    assert start["usage"]["input_tokens"] == 3
    assert told[-2]["delta"]["stop_reason"] == "end_turn"
    assert told[-2]["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_the_pieces_of_a_text_are_told_alike() -> None:
    """The way of the many deltas is a short cut; the others go the long one."""
    stream = MessageStream(HEADING)
    began: list[Event] = [START, *said(), ContentBlockStart(text_block(""), 1)]
    stream.encode(began)
    assert frames(stream.encode([TextDelta('a"\n', 1)])) == [
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "text_delta", "text": 'a"\n'},
        }
    ]


@pytest.mark.parametrize(
    ("reason", "sequence", "details"),
    [
        ("end_turn", None, None),
        ("stop_sequence", "X", None),
        ("max_tokens", None, None),
        ("refusal", None, {"type": "refusal", "category": "cyber"}),
        ("tool_use", None, None),
        ("pause_turn", None, None),
        ("model_context_window_exceeded", None, None),
        ("of_tomorrow", None, None),
    ],
)
def test_why_it_stopped(reason: str, sequence: str | None, details: Any) -> None:
    raw = None if details is None else Raw(json.dumps(details).encode())
    end = Finished(reason, USAGE, sequence, raw)
    for message in (document(START, end), accumulated(streamed(START, end))):
        told = (message["stop_reason"], message["stop_sequence"])
        assert (*told, message["stop_details"]) == (reason, sequence, details)


def usage(**told: Any) -> Usage:
    """A usage of which the provider has told more."""
    details = {name: Raw(json.dumps(value).encode()) for name, value in told.items()}
    return Usage(input_tokens=3, output_tokens=7, details=details)


COUNTS = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 0},
}


def test_usage_is_told_as_the_provider_told_it() -> None:
    told = {
        "input_tokens": 3,
        "output_tokens": 7,
        "cache_read_input_tokens": None,
        "cache_creation": {"ephemeral_5m_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
        "of_tomorrow": [1],
    }
    message = document(START, Finished("end_turn", usage(**told)))
    assert message["usage"] == {**COUNTS, **{k: v for k, v in told.items() if v}}


def test_a_sum_has_no_details_of_the_last_message() -> None:
    told = {
        "input_tokens": 1,
        "output_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 0},
        "service_tier": "standard",
    }
    message = document(START, Finished("end_turn", usage(**told)))
    assert message["usage"] == {**COUNTS, "service_tier": "standard"}


CITATION = {"type": "char_location", "cited_text": "a", "document_index": 0}
CITED = OpaqueDelta(
    json.dumps({"type": "citations_delta", "citation": CITATION}).encode(), 2
)
SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"a": 1}]}
EVERYTHING: tuple[Event, ...] = (
    START,
    *thought("h", "m"),
    *whole({"type": "redacted_thinking", "data": "d"}, 1),
    ContentBlockStart(text_block(""), 2),
    TextDelta("Look.", 2),
    CITED,
    ContentBlockStop(2),
    *whole(SEARCH, 3),
    *whole(FOUND, 4),
    AgentToolUsed("Read", "{}"),
    MessageStart("claude-test-1"),
    *thought(signature="alone"),
    ContentBlockStart(text_block(""), 1),
    TextDelta("And", 1),
    UpstreamRetry("rate_limit", 1, 1.0),
    TextDelta(" so.", 1),
    ContentBlockStop(1),
    *called('{"x":', "1}", index=2),
    *called(identifier="b", index=3),
    CALLED,
)


def test_every_kind_of_block() -> None:
    message = document(*EVERYTHING)
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "Look.", "citations": [CITATION]},
        SEARCH,
        FOUND,
        {"type": "thinking", "thinking": "[Read {}]\n", "signature": ""},
        {"type": "thinking", "thinking": "", "signature": "alone"},
        {"type": "text", "text": "And so."},
        {"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "t", "input": {}},
    ]
    assert accumulated(streamed(*EVERYTHING)) == message


def test_thinking_that_nobody_asked_for_is_not_shown() -> None:
    plain = ThinkingForm()
    message = document(*EVERYTHING, thinking=plain)
    kinds = [block["type"] for block in message["content"]]
    shown = ["text", SEARCH["type"], FOUND["type"], "text", "tool_use", "tool_use"]
    assert kinds == shown
    assert accumulated(streamed(*EVERYTHING, thinking=plain)) == message


def test_thinking_of_which_only_the_signature_is_wanted() -> None:
    message = document(*EVERYTHING, thinking=SIGNED_ONLY)
    first = {"type": "thinking", "thinking": "", "signature": "s"}
    assert message["content"][0] == first
    assert accumulated(streamed(*EVERYTHING, thinking=SIGNED_ONLY)) == message


def test_a_delta_that_nobody_knows_is_told() -> None:
    delta = {"type": "of_tomorrow", "n": 1.50}
    told = streamed(
        START,
        ContentBlockStart(Block.decode(b'{"type":"of_tomorrow"}')),
        OpaqueDelta(json.dumps(delta).encode()),
        ContentBlockStop(),
        FINISHED,
    )
    assert told[2]["content_block"] == {"type": "of_tomorrow"}
    assert told[3]["delta"] == delta


@pytest.mark.parametrize("pieces", [(), ('{"x":',)])
def test_a_call_that_was_cut_off_is_no_call(pieces: tuple[str, ...]) -> None:
    cut = Finished("max_tokens", USAGE)
    message = document(START, *said("so"), *called(*pieces, index=1), cut)
    assert [block["type"] for block in message["content"]] == ["text"]


def test_a_stream_that_was_begun_again_goes_on_in_its_block() -> None:
    told = streamed(
        *(START, *said("one")[:-1], Restarted()),
        *(MessageStart("claude-test-1"), *said("one", " two"), FINISHED),
    )
    [block] = accumulated(told)["content"]
    assert block["text"] == "one two"


def test_a_document_that_was_begun_again_has_the_second_answer() -> None:
    message = document(
        START, *said("one")[:-1], Restarted(), START, *said("two"), FINISHED
    )
    assert [block["text"] for block in message["content"]] == ["two"]


def test_an_error_is_the_last_of_a_stream() -> None:
    failed = Failed(RateLimited("too much"))
    stream = MessageStream(HEADING)
    told = frames(stream.encode((START, *said("one"), failed, FINISHED)))
    assert stream.is_over
    assert isinstance(stream.error, RateLimited)
    assert told[-1] == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "too much"},
        "request_id": "req_1",
    }
    assert not stream.encode((FINISHED,))


def test_blocks_that_nobody_ended_are_ended() -> None:
    told = streamed(
        *(START, *said("one")[:-1], MessageStart("claude-test-1")),
        *(*said("two")[:-1], FINISHED),
    )
    assert [block["text"] for block in accumulated(told)["content"]] == ["one", "two"]


def test_a_stream_that_ends_before_it_begins() -> None:
    message = accumulated(streamed(FINISHED))
    assert (message["content"], message["model"]) == ([], "")


PIECES = st.lists(st.text('ab{}"\\\n\u2028\U0001f600', min_size=1, max_size=4))
MAKERS = st.sampled_from(
    [
        lambda index, pieces: said(*pieces, index=index),
        lambda index, pieces: thought(*pieces, index=index),
        lambda index, pieces: called(*pieces, index=index),
        lambda index, pieces: called("{", '"a":1}', index=index),
        lambda index, _: whole({"type": "redacted_thinking", "data": "d"}, index),
        lambda index, _: whole(FOUND, index),
        lambda _, __: [AgentToolUsed("Read", "{}")],
        lambda _, __: [UpstreamRetry("overloaded", 1, 1.0)],
    ]
)
FORMS = st.sampled_from([ThinkingForm(), SHOWN, SIGNED_ONLY])


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """One or more messages of any blocks."""
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 3))):
        events.append(START)
        for index in range(draw(st.integers(0, 4))):
            events += draw(MAKERS)(index, draw(PIECES))
    return events


@given(answers(), FORMS, st.sampled_from([FINISHED, CALLED]), st.data())
def test_any_stream_keeps_the_order_and_is_the_document(
    events: list[Event], form: ThinkingForm, end: Finished, data: st.DataObject
) -> None:
    told = [*events, end]
    builder = MessageBuilder()
    builder.receive(told)
    stream = MessageStream(HEADING, form)
    cut = data.draw(st.integers(0, len(told)))
    pieces = [*stream.encode(told[:cut]), *stream.encode(told[cut:])]
    if builder.is_whole:
        message = document(*told, thinking=form)
        assert accumulated(frames(pieces)) == message


ANYTHING: st.SearchStrategy[Event] = st.one_of(
    st.builds(TextDelta, st.just("a"), st.integers(0, 2)),
    st.builds(InputJSONDelta, st.just("{"), st.integers(0, 2)),
    st.builds(ContentBlockStart, st.just(text_block("")), st.integers(0, 2)),
    st.builds(ContentBlockStart, st.just(thinking_block("", "")), st.integers(0, 2)),
    st.builds(ContentBlockStop, st.integers(0, 2)),
    st.sampled_from([START, Restarted(), Failed(ClaudeFailed("no")), FINISHED, CALLED]),
)


@given(st.lists(ANYTHING), FORMS)
def test_no_order_of_events_breaks_a_stream(
    events: list[Event], form: ThinkingForm
) -> None:
    stream = MessageStream(HEADING, form)
    kinds = [event["type"] for event in frames(stream.encode(events))]
    if "error" in kinds:
        assert kinds.pop() == "error"
        assert stream.error is not None
    begun = {"content_block_start", "content_block_stop", "message_delta"}
    assert not begun.intersection(
        kinds[: kinds.index("message_start")] if kinds else ()
    )
    collector = MessageDocument(HEADING, form)
    collector.receive(events)
    if collector.is_over and collector.error is None:
        json.loads(collector.encode())


# Errors and models.


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequest("x"), 400, "invalid_request_error"),
        (InvalidKey("x"), 401, "authentication_error"),
        (ModelNotFound("x"), 404, "not_found_error"),
        (RequestTooLarge("x"), 413, "request_too_large"),
        (RateLimited("x"), 429, "rate_limit_error"),
        (InsufficientQuota("x"), 429, "rate_limit_error"),
        (InternalError("x"), 500, "api_error"),
        (NotSupported("x"), 501, "not_found_error"),
        (ClaudeFailed("x"), 502, "api_error"),
        (NotLoggedIn("x"), 503, "api_error"),
        (TimedOut("x"), 504, "timeout_error"),
        (Overloaded("x"), 529, "overloaded_error"),
        (QueueFull("x"), 529, "overloaded_error"),
        (ShuttingDown("x"), 529, "overloaded_error"),
    ],
)
def test_errors(error: CCProxyError, status: int, kind: str) -> None:
    assert anthropic_status(error) == status
    assert json.loads(anthropic_error(error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "req_1",
    }


def test_a_thread_is_refused_as_their_sdk_expects() -> None:
    error = refused(thread={"type": "create"})
    assert isinstance(error, ThreadsUnsupported)
    told = json.loads(anthropic_error(error, "req_1"))["error"]
    assert told["type"] == "invalid_request_error"
    assert told["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }


@pytest.mark.parametrize(
    ("after", "before", "limit", "names", "has_more"),
    [
        (None, None, 9, "abcd", False),
        (None, None, 2, "ab", True),
        ("b", None, 1, "c", True),
        ("d", None, 2, "", False),
        (None, "d", 2, "bc", True),
        ("a", "d", 9, "bc", False),
    ],
)
def test_pages_of_models(
    after: str | None, before: str | None, limit: int, names: str, has_more: bool
) -> None:
    page = json.loads(model_page("abcd", after=after, before=before, limit=limit))
    assert [model["id"] for model in page["data"]] == [*names]
    assert page["has_more"] is has_more
    ends = (page["first_id"], page["last_id"])
    assert ends == ((names[0], names[-1]) if names else (None, None))


def test_a_page_that_begins_nowhere() -> None:
    with pytest.raises(InvalidRequest, match="after_id"):
        model_page("ab", after="z", before=None, limit=1)
