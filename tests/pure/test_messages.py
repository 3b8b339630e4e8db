"""The Messages dialect: requests to prompts, events to messages and streams."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.conversation import (
    DocumentBlock,
    Effort,
    ImageBlock,
    Message,
    RedactedThinkingBlock,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from ccproxy.dialects.messages_document import MessageDocument
from ccproxy.dialects.messages_error import anthropic_error, anthropic_status
from ccproxy.dialects.messages_models import model_page
from ccproxy.dialects.messages_request import (
    MessagesCall,
    ThinkingForm,
    decode_messages,
)
from ccproxy.dialects.messages_stream import MessageStream
from ccproxy.dialects.messages_structs import Heading
from ccproxy.errors import (
    Bug,
    CCProxyError,
    ClaudeFailed,
    ClientError,
    InsufficientQuota,
    InvalidKey,
    InvalidRequest,
    ModelNotFound,
    NotLoggedIn,
    NotPossible,
    Overloaded,
    QueueFull,
    RateLimited,
    RequestTooLarge,
    ShuttingDown,
    ThreadsUnsupported,
    TimedOut,
)
from ccproxy.events import (
    AgentToolUsed,
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStarted,
    RedactedThinking,
    Restarted,
    TextDelta,
    ThinkingDelta,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Waiting,
)

HELLO = {"role": "user", "content": "hello"}
HEADING = Heading(id="msg_1", request_id="req_1")
SHOWN = ThinkingForm(is_shown=True)
SIGNED_ONLY = ThinkingForm(is_shown=True, has_text=False)
USAGE = Usage(input_tokens=3, cache_read_tokens=2, output_tokens=7, thinking_tokens=4)
FINISHED = Finished(FinishReason.STOP, USAGE)
CALLED = Finished(FinishReason.TOOL_USE, USAGE)
START = MessageStarted("claude-test-1", Usage(input_tokens=3))
SCHEMA = {"type": "object", "properties": {}}
PNG = "iVBORw0KGgo="


def decode(*messages: Any, **fields: Any) -> MessagesCall:
    options = {
        name: fields.pop(name)
        for name in ("forward_sampling", "web_search")
        if name in fields
    }
    body = {"messages": messages or [HELLO], "model": "sonnet", **fields}
    return decode_messages(json.dumps(body).encode(), **options)


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


def only_block(block: Any) -> Any:
    [message] = decode(user(block)).prompt.messages
    [found] = message.content
    return found


# Requests.


def test_a_bare_request() -> None:
    call = decode(max_tokens=5)
    assert call.prompt.messages == (Message(Role.USER, (TextBlock("hello"),)),)
    assert (call.prompt.model, call.prompt.system) == ("sonnet", "")
    assert call.prompt.max_tokens == 5
    assert not call.stream
    assert call.ignored == ()


def test_system_blocks_and_messages_are_one_prompt() -> None:
    notes = {"role": "system", "content": [text("C")]}
    call = decode(HELLO, notes, system=[text("A"), {**text("B"), "cache_control": {}}])
    assert call.prompt.system == "A\n\nB\n\nC"
    assert decode(system="A").prompt.system == "A"


def test_turns_with_calls_results_and_thinking() -> None:
    call = decode(
        HELLO,
        assistant(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            text("Look."),
            {"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "t", "input": {}},
        ),
        user(
            {"type": "tool_result", "tool_use_id": "b", "content": "no"},
            {
                "type": "tool_result",
                "tool_use_id": "a",
                "content": [text("one"), text("two")],
                "is_error": True,
            },
        ),
        tools=[{"name": "t", "input_schema": SCHEMA}],
    )
    _, said, results = call.prompt.messages
    assert said.content == (
        ThinkingBlock("hm", "s"),
        RedactedThinkingBlock("d"),
        TextBlock("Look."),
        ToolUseBlock("a", "t", {"x": 1}),
        ToolUseBlock("b", "t", {}),
    )
    assert results.content == (
        ToolResultBlock("a", (TextBlock("one"), TextBlock("two")), is_error=True),
        ToolResultBlock("b", "no"),
    )


def test_thinking_without_a_signature_and_foreign_blocks_are_left_out() -> None:
    call = decode(
        HELLO,
        assistant(
            {"type": "thinking", "thinking": "an aside", "signature": ""},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"a": 1}},
            text("so"),
        ),
        HELLO,
    )
    assert call.prompt.messages[1].content == (TextBlock("so"),)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, ""),
        ("x", "x"),
        ([], ""),
        ([text("x")], "x"),
        ([text(" "), text("x")], "x"),
        ([text("x"), text("y")], (TextBlock("x"), TextBlock("y"))),
    ],
)
def test_contents_of_results(content: Any, expected: Any) -> None:
    call = {"type": "tool_use", "id": "a", "name": "t", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": content}
    prompt = decode(HELLO, assistant(call), user(result)).prompt
    assert prompt.messages[-1].content == (ToolResultBlock("a", expected),)


def test_images_and_documents() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    assert only_block({"type": "image", "source": source}) == ImageBlock(
        "image/png", PNG
    )
    url = {"type": "url", "url": "https://example.org/a.pdf"}
    assert only_block({"type": "document", "source": url}) == DocumentBlock(
        None, "https://example.org/a.pdf"
    )
    plain = {"type": "text", "media_type": "text/plain", "data": "\ufeffa"}
    block = {"type": "document", "source": plain, "title": "t", "context": "c"}
    assert only_block(block) == DocumentBlock("text/plain", "\ufeffa", "t", "c")
    parts = {"type": "content", "content": [text("a"), text("b")]}
    assert only_block({"type": "document", "source": parts}) == DocumentBlock(
        "text/plain", "a\n\nb"
    )
    found = {"type": "search_result", "source": "https://example.org", "title": "t"}
    assert only_block({**found, "content": [text("a")]}) == DocumentBlock(
        "text/plain", "a", "t", "https://example.org"
    )


def test_tools_and_choices() -> None:
    tools = [
        {"name": "a", "description": "A", "input_schema": SCHEMA, "strict": True},
        {"name": "b", "type": "custom", "input_schema": SCHEMA},
    ]
    prompt = decode(tools=tools).prompt
    assert [(t.name, t.description) for t in prompt.tools] == [("a", "A"), ("b", None)]
    assert (prompt.must_call, prompt.parallel_calls) == (False, True)
    one = {"type": "tool", "name": "b", "disable_parallel_tool_use": True}
    prompt = decode(tools=tools, tool_choice=one).prompt
    assert [tool.name for tool in prompt.tools] == ["b"]
    assert (prompt.must_call, prompt.parallel_calls) == (True, False)
    prompt = decode(tools=tools, tool_choice={"type": "any"}).prompt
    assert (len(prompt.tools), prompt.must_call) == (2, True)
    assert decode(tools=tools, tool_choice={"type": "none"}).prompt.tools == ()


def test_web_search_is_the_operators_to_allow() -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    assert decode(tools=tools).ignored == ("tools[0]",)
    allowed = decode(tools=tools, web_search=True)
    assert (allowed.ignored, allowed.prompt.tools) == ((), ())


def test_sampling_is_named_or_sent() -> None:
    fields = {"temperature": 0, "top_k": 5, "context_management": {"edits": []}}
    assert decode(**fields).ignored == ("temperature", "top_k", "context_management")
    call = decode(**fields, forward_sampling=True)
    assert call.prompt.sampling == {"temperature": 0, "top_k": 5}
    assert call.ignored == ("context_management",)


@pytest.mark.parametrize(
    ("thinking", "form", "ignored"),
    [
        (None, ThinkingForm(), ()),
        ({"type": "adaptive"}, SHOWN, ()),
        ({"type": "adaptive", "display": "omitted"}, SIGNED_ONLY, ()),
        (
            {"type": "enabled", "budget_tokens": 2000},
            SHOWN,
            ("thinking.budget_tokens",),
        ),
        ({"type": "disabled"}, ThinkingForm(), ("thinking",)),
    ],
)
def test_thinking(thinking: Any, form: ThinkingForm, ignored: Any) -> None:
    call = decode(thinking=thinking)
    assert (call.thinking, call.ignored) == (form, ignored)


def test_effort_schema_and_stops() -> None:
    config = {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}}
    call = decode(output_config=config, stop_sequences=["X", "Y"], speed="fast")
    assert (call.effort, call.prompt.effort) == ("high", Effort.HIGH)
    assert call.prompt.schema == SCHEMA
    assert call.prompt.stop == ("X", "Y")
    assert call.ignored == ("speed",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"thinking": {"type": "much"}}, "thinking.type"),
        ({"stop_sequences": [" "]}, "stop_sequences[0]"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        (
            {"tools": [{"name": "a", "input_schema": {"type": "string"}}]},
            "tools[0].input_schema",
        ),
        ({"tool_choice": {"type": "tool"}}, "tool_choice"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([HELLO, assistant(text("prefill"))], "messages[1].role"),
        ([user(text(" "))], "messages[0].content"),
        ([user({"type": "tool_use", "id": "a"})], "messages[0].content[0].type"),
        ([user({"type": "thinking"})], "messages[0].content[0].type"),
        ([user({"type": "container_upload"})], "messages[0].content[0].type"),
        ([user({"type": "image"})], "messages[0].content[0].source"),
        (
            [user({"type": "image", "source": {"type": "file", "file_id": "f"}})],
            "messages[0].content[0].source.file_id",
        ),
        (
            [user({"type": "image", "source": {"type": "url", "url": "file:///a"}})],
            "messages[0].content[0].source.url",
        ),
        (
            [user({"type": "tool_result", "content": "x"})],
            "messages[0].content[0].tool_use_id",
        ),
        ([user({"type": "tool_result", "tool_use_id": "a"})], "messages"),
        ([user({"text": "x"})], "messages[0].content[0].type"),
    ],
)
def test_messages_that_are_refused(messages: list[Any], param: str) -> None:
    error = refused(*messages)
    assert (error.status, error.param) == (400, param)


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
    body = json.dumps({"messages": messages, **fields}).encode()
    try:
        prompt = decode_messages(body).prompt
    except ClientError as error:
        assert error.message
        return
    roles = [message.role for message in prompt.messages]
    assert roles[-1] is Role.USER
    assert all(a is not b for a, b in itertools.pairwise(roles))


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    with pytest.raises(ClientError):
        decode_messages(body)


# Answers.


def frames(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream; its form is checked on the way."""
    *found, end = data.decode().split("\n\n")
    assert end == ""
    told = []
    for frame in found:
        kind, line = frame.split("\n")
        event = json.loads(line.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        told.append(event)
    return told


def streamed(*events: Event, thinking: ThinkingForm = SHOWN) -> list[dict[str, Any]]:
    return frames(MessageStream(HEADING, thinking).encode(0, events))


def document(*events: Event, thinking: ThinkingForm = SHOWN) -> dict[str, Any]:
    collector = MessageDocument(HEADING, thinking)
    collector.receive(0, events)
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
                if block["type"] == "tool_use" and pieces:
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
        case {"type": "signature_delta", "signature": signature}:
            assert block["type"] == "thinking"
            block["signature"] = signature
        case {"type": "input_json_delta", "partial_json": piece}:
            assert block["type"] == "tool_use"
            pieces.append(piece)
        case other:
            raise AssertionError(other)


def test_a_stream_of_text() -> None:
    told = streamed(START, TextDelta("one"), TextDelta(" \u2028two"), FINISHED)
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


@pytest.mark.parametrize(
    ("end", "reason", "sequence"),
    [
        (FINISHED, "end_turn", None),
        (Finished(FinishReason.STOP, USAGE, "X"), "stop_sequence", "X"),
        (Finished(FinishReason.LENGTH, USAGE), "max_tokens", None),
        (Finished(FinishReason.REFUSAL, USAGE), "refusal", None),
        (CALLED, "tool_use", None),
    ],
)
def test_why_it_stopped(end: Finished, reason: str, sequence: str | None) -> None:
    for message in (document(START, end), accumulated(streamed(START, end))):
        assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


EVERYTHING: tuple[Event, ...] = (
    START,
    ThinkingDelta("h"),
    ThinkingDelta("m"),
    ThinkingSigned("s"),
    ThinkingSigned("alone"),
    RedactedThinking("d"),
    TextDelta("Look."),
    AgentToolUsed("Read", "{}"),
    MessageStarted("claude-test-1"),
    TextDelta("And"),
    Waiting("rate_limit", 1, 1.0),
    TextDelta(" so."),
    ToolCallStarted("a", "t"),
    ToolCallDelta('{"x":'),
    ToolCallDelta("1}"),
    ToolCallStarted("b", "u"),
    CALLED,
)


def test_every_kind_of_block() -> None:
    message = document(*EVERYTHING)
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "thinking", "thinking": "", "signature": "alone"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "Look.", "citations": None},
        {"type": "thinking", "thinking": "[Read {}]\n", "signature": ""},
        {"type": "text", "text": "And so.", "citations": None},
        {"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "u", "input": {}},
    ]
    assert accumulated(streamed(*EVERYTHING)) == message


def test_thinking_that_nobody_asked_for_is_not_shown() -> None:
    plain = ThinkingForm()
    message = document(*EVERYTHING, thinking=plain)
    kinds = [block["type"] for block in message["content"]]
    assert kinds == ["text", "text", "tool_use", "tool_use"]
    assert accumulated(streamed(*EVERYTHING, thinking=plain)) == message


def test_thinking_of_which_only_the_signature_is_wanted() -> None:
    message = document(*EVERYTHING, thinking=SIGNED_ONLY)
    first = {"type": "thinking", "thinking": "", "signature": "s"}
    assert message["content"][0] == first
    assert accumulated(streamed(*EVERYTHING, thinking=SIGNED_ONLY)) == message


@pytest.mark.parametrize("pieces", [(), ('{"x":',)])
def test_a_call_that_was_cut_off_is_no_call(pieces: tuple[str, ...]) -> None:
    call: list[Event] = [ToolCallStarted("a", "t"), *map(ToolCallDelta, pieces)]
    cut = Finished(FinishReason.LENGTH, USAGE)
    message = document(START, TextDelta("so"), *call, cut)
    assert [block["type"] for block in message["content"]] == ["text"]


def test_a_stream_that_was_begun_again_goes_on_in_its_block() -> None:
    again = (Restarted(), MessageStarted("claude-test-1"))
    told = streamed(
        START, TextDelta("one"), *again, TextDelta("one"), TextDelta(" two"), FINISHED
    )
    [block] = accumulated(told)["content"]
    assert block["text"] == "one two"


def test_a_document_that_was_begun_again_has_the_second_answer() -> None:
    message = document(
        START, TextDelta("one"), Restarted(), START, TextDelta("two"), FINISHED
    )
    assert [block["text"] for block in message["content"]] == ["two"]


def test_an_error_is_the_last_of_a_stream() -> None:
    failed = Failed(RateLimited("too much"))
    stream = MessageStream(HEADING)
    told = frames(stream.encode(0, (START, TextDelta("one"), failed, FINISHED)))
    assert stream.is_over
    assert isinstance(stream.error, RateLimited)
    assert told[-1] == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "too much"},
        "request_id": "req_1",
    }
    assert stream.encode(0, (FINISHED,)) == b""


PIECES = st.text('ab{}"\\\n\u2028\U0001f600', min_size=1, max_size=4)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(TextDelta, PIECES),
    st.builds(ThinkingDelta, PIECES),
    st.builds(ThinkingSigned, PIECES),
    st.builds(RedactedThinking, PIECES),
    st.builds(AgentToolUsed, st.just("Read"), st.just("{}")),
    st.builds(Waiting, st.just("overloaded"), st.just(1), st.just(1.0)),
    st.just(ToolCallStarted("a", "t")),
    st.just(MessageStarted("claude-test-2")),
)
FORMS = st.sampled_from([ThinkingForm(), SHOWN, SIGNED_ONLY])
ENDS = st.sampled_from([FINISHED, CALLED, Finished(FinishReason.LENGTH, USAGE)])


@given(st.lists(EVENTS), FORMS, st.sampled_from([FINISHED, CALLED]), st.data())
def test_any_stream_keeps_the_order_and_is_the_document(
    events: list[Event], form: ThinkingForm, end: Finished, data: st.DataObject
) -> None:
    # Calls have whole arguments.
    told: list[Event] = [START]
    for event in events:
        told.append(event)
        if isinstance(event, ToolCallStarted):
            told.append(ToolCallDelta('{"x": '))
            told.append(ToolCallDelta("[]}"))
    told.append(end)
    whole = document(*told, thinking=form)
    stream = MessageStream(HEADING, form)
    cut = data.draw(st.integers(0, len(told)))
    pieces = stream.encode(0, told[:cut]) + stream.encode(0, told[cut:])
    message = accumulated(frames(pieces))
    assert {**message, "model": ""} == {**whole, "model": ""}


ANYTHING = st.one_of(
    EVENTS,
    st.builds(ToolCallDelta, PIECES),
    st.just(Restarted()),
    st.just(Failed(ClaudeFailed("no"))),
    ENDS,
)


@given(st.lists(ANYTHING), FORMS)
def test_no_order_of_events_breaks_a_stream(
    events: list[Event], form: ThinkingForm
) -> None:
    stream = MessageStream(HEADING, form)
    kinds = [event["type"] for event in frames(stream.encode(0, events))]
    if "error" in kinds:
        assert kinds.pop() == "error"
        assert stream.error is not None
    assert kinds[:1] in ([], ["message_start"])
    assert kinds.count("content_block_start") - kinds.count("content_block_stop") in (
        0,
        1,
    )
    collector = MessageDocument(HEADING, form)
    collector.receive(0, events)
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
        (Bug("x"), 500, "api_error"),
        (NotPossible("x"), 501, "not_found_error"),
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
