"""The Responses dialect: requests to the model, events to documents and streams."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.request import (
    AssembledRequest,
    context_of,
    decode_responses,
    request_of,
)
from ccproxy.api.responses.response import ResponseDocument
from ccproxy.api.responses.stored import (
    decode_events,
    encode_events,
    kept_response,
    shown_response,
)
from ccproxy.api.responses.stream import ResponseStream
from ccproxy.core.errors import (
    ClaudeFailed,
    ClientError,
    ContextLengthExceeded,
    InvalidEncryptedContent,
    Overloaded,
    RateLimited,
    StorageFailed,
)
from ccproxy.core.messages import Message, MessagesRequest
from ccproxy.core.stream import (
    ContentBlockStart,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
    Usage,
)
from ccproxy.web.sse import WireEvent
from tests.support.events import call_start, in_blocks, redacted_start
from tests.support.spec import response_errors, response_event_errors

USAGE = Usage(
    input_tokens=3,
    cache_read_tokens=2,
    cache_write_tokens=1,
    output_tokens=7,
    thinking_tokens=4,
)
FINISHED = Finished("end_turn", USAGE)
START = MessageStart("claude-test-1")


def request(**fields: Any) -> bytes:
    return json.dumps({"input": "hello", **fields}).encode()


SEAL = Encryptor(new_key())


def assembled(body: bytes, **options: Any) -> AssembledRequest:
    """The whole of a request that refers to nothing."""
    call = decode_responses(body, **options)
    return request_of(call, context_of(call, (), {}), SEAL)


def asked(body: bytes, **options: Any) -> MessagesRequest:
    """The question to the model of a request that refers to nothing."""
    return assembled(body, **options).request


def plain(messages: Sequence[Message]) -> list[tuple[str, Any]]:
    """Messages as their roles and their contents in JSON."""
    return [
        (
            message.role,
            message.content
            if isinstance(message.content, str)
            else [json.loads(block.raw) for block in message.content],
        )
        for message in messages
    ]


def text_of(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def stream(**fields: Any) -> ResponseStream:
    echo = decode_responses(request(**fields)).echo
    return ResponseStream("abc", echo, lambda: 1700000000.5)


def whole(encoder: ResponseStream, *events: Event) -> list[WireEvent]:
    """Everything that events come to, the end included."""
    return [*encoder.encode(events), *encoder.conclude()]


def parse(wire: Sequence[WireEvent]) -> list[dict[str, Any]]:
    """The events of a whole stream; their form is checked on the way."""
    parsed = [json.loads(event.data) for event in wire]
    assert [event.name for event in wire] == [event["type"] for event in parsed]
    assert all(len(event.data.decode().splitlines()) == 1 for event in wire)
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    return parsed


# Requests


def test_string_is_a_message_of_the_user() -> None:
    call = decode_responses(request(instructions="Be brief.", model="opus"))
    question = asked(request(instructions="Be brief.", model="opus"))
    assert question.system == "Be brief."
    assert question.model == "opus"
    assert plain(question.messages) == [("user", "hello")]
    assert not call.stream


def test_items_are_native_turns() -> None:
    items = [
        {"type": "message", "role": "developer", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "phase": "final_answer",
            "content": [
                {"type": "output_text", "text": "uno", "annotations": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"role": "system", "content": [{"type": "input_text", "text": "Be quick."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "two"}]},
    ]
    question = asked(request(input=items, instructions="Be brief."))
    assert question.system == "Be brief.\n\nBe kind."
    assert plain(question.messages) == [
        ("user", "one"),
        ("assistant", [text_of("uno"), text_of("no")]),
        ("system", [text_of("Be quick.")]),
        ("user", [text_of("two")]),
    ]
    assert question.messages[1].at == "input[3]"
    assert question.messages[1].blocks[0].at == "input[3].content[0]"


def test_parameters() -> None:
    call = decode_responses(
        request(
            max_output_tokens=99,
            reasoning={"effort": "minimal", "summary": "auto"},
            temperature=0.5,
            top_p=0.9,
            presence_penalty=1,
            stream=True,
            client_metadata={"a": "b"},
            tools=[],
            tool_choice="auto",
            include=["reasoning.encrypted_content"],
        )
    )
    question = call.request
    assert question.max_tokens == 99
    assert question.effort == "low"
    # Whether the model takes them is decided where it is known.
    assert {name: json.loads(bytes(raw)) for name, raw in question.extra.items()} == {
        "temperature": 0.5,
        "top_p": 0.9,
    }
    assert call.ignored == ("presence_penalty",)
    assert call.adjusted == ("reasoning.effort",)
    assert question.paths["max_tokens"] == "max_output_tokens"
    assert call.stream


ITEM = {"role": "user", "content": "x"}
REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"input": None}, "input", "missing_required_parameter"),
    ({"input": 3}, "input", "invalid_request"),
    ({"input": []}, "input", "invalid_request"),
    ({"input": "  "}, "input.content", "invalid_request"),
    ({"input": [{"content": "x"}]}, "input[0].role", "missing_required_parameter"),
    ({"input": [{**ITEM, "role": "boss"}]}, "input[0].role", "invalid_request"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "input[0].content[0].image_url",
        "missing_required_parameter",
    ),
    (
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        "input[0].id",
        "invalid_request",
    ),
    (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        "input",
        "invalid_request",
    ),
    (
        {"input": [ITEM, {"type": "function_call_output", "output": "x"}]},
        "input[1].call_id",
        "missing_required_parameter",
    ),
    (
        {"input": [ITEM, {"type": "function_call", "call_id": "c"}]},
        "input[1].name",
        "missing_required_parameter",
    ),
    (
        {"previous_response_id": "resp_1", "conversation": {"id": "conv_1"}},
        "previous_response_id",
        "invalid_request",
    ),
    ({"background": True, "store": False}, "background", "invalid_request"),
    (
        {"include": ["message.output_text.logprobs"]},
        "include",
        "unsupported_value",
    ),
    ({"prompt": {"id": "p"}}, "prompt", "unsupported_value"),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
    ({"tools": [{"type": "file_search"}]}, "tools[0].type", "unsupported_value"),
    (
        {"tools": [{"type": "function", "name": "f"}] * 2},
        "tools[1]",
        "invalid_request",
    ),
    ({"tool_choice": "required"}, "tool_choice", "invalid_request"),
    ({"tool_choice": {"type": "mcp"}}, "tool_choice", "unsupported_value"),
    ({"top_logprobs": 3}, "top_logprobs", "unsupported_value"),
    (
        {"text": {"format": {"type": "xml"}}},
        "text.format.type",
        "unsupported_value",
    ),
    (
        {"text": {"format": {"type": "json_schema", "schema": {"type": "array"}}}},
        "text.format.schema",
        "invalid_request",
    ),
    ({"max_output_tokens": 0}, "max_output_tokens", "invalid_request"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_request"),
    ({"temperature": "hot"}, "temperature", "invalid_request"),
]


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED)
def test_what_cannot_be_done_is_refused(
    fields: dict[str, Any], param: str | None, code: str
) -> None:
    with pytest.raises(ClientError) as caught:
        asked(request(**fields))
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
FIELDS = ("input", "instructions", "reasoning", "text", "tools", "metadata", "model")


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_body_is_a_call_or_a_client_error(fields: dict[str, Any]) -> None:
    try:
        question = asked(json.dumps(fields).encode())
    except ClientError as error:
        assert error.message
    else:
        assert question.messages


# Answers


def test_events_of_an_answer() -> None:
    encoder = stream()
    told = parse(whole(encoder, START, TextDelta("one"), TextDelta(" two"), FINISHED))
    assert [event["type"] for event in told] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    response = told[-1]["response"]
    assert response["id"] == "resp_abc"
    assert response["model"] == "claude-test-1"
    assert response["status"] == "completed"
    assert response["completed_at"] == response["created_at"] == 1700000000
    assert response["store"] is True
    [item] = response["output"]
    assert item["content"][0]["text"] == "one two"
    assert response["usage"] == {
        "input_tokens": 6,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 13,
    }
    assert encoder.usage == USAGE


def test_request_is_echoed() -> None:
    fields: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "top_p": 0.25,
        "parallel_tool_calls": False,
        "truncation": "auto",
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"verbosity": "low"},
        "safety_identifier": "me",
        "prompt_cache_key": "key",
    }
    encoder = stream(**fields)
    response = parse(whole(encoder, START, FINISHED))[-1]["response"]
    assert response_errors(response) == []
    text = response.pop("text")
    assert text == {"format": {"type": "text"}, "verbosity": "low"}
    for name, value in fields.items():
        if name != "text":
            assert response[name] == value


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("max_tokens", "max_output_tokens"),
        ("model_context_window_exceeded", "max_output_tokens"),
        ("refusal", "content_filter"),
    ],
)
def test_answer_that_was_cut_short_is_incomplete(reason: str, told: str) -> None:
    data = whole(stream(), START, TextDelta("half"), Finished(reason, USAGE))
    *_, item_done, last = parse(data)
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": told}
    assert last["response"]["completed_at"] is None
    assert item_done["item"]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClaudeFailed("it broke"), "server_error"),
        (RateLimited("slow down"), "rate_limit_exceeded"),
        (ContextLengthExceeded("too long"), "invalid_prompt"),
    ],
)
def test_failure_is_the_last_event(error: Any, code: str) -> None:
    encoder = stream()
    data = whole(encoder, START, TextDelta("half"), Failed(error))
    *_, told, last = parse(data)
    assert told["type"] == "error"
    assert (told["code"], told["message"]) == (error.code, error.message)
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": code, "message": error.message}
    assert last["response"]["output"][0]["content"][0]["text"] == "half"
    assert encoder.error is error
    assert encoder.is_over


def test_each_call_is_an_item_of_its_own() -> None:
    data = whole(
        stream(),
        START,
        TextDelta("look"),
        call_start("toolu_1", "f"),
        InputJSONDelta('{"a"'),
        InputJSONDelta(": 1}"),
        call_start("toolu_2", "g"),
        Finished("tool_use", USAGE),
    )
    response = parse(data)[-1]["response"]
    assert response["status"] == "completed"
    message, first, second = response["output"]
    assert message["type"] == "message"
    assert (first["call_id"], first["name"]) == ("toolu_1", "f")
    assert first["arguments"] == '{"a": 1}'
    # Without arguments it is still a call of an object.
    assert (second["call_id"], second["arguments"]) == ("toolu_2", "{}")
    assert len({item["id"] for item in response["output"]}) == 3


def test_calls_and_their_outputs_are_native_turns() -> None:
    tool = {"type": "function", "name": "f", "parameters": None, "strict": True}
    items = [
        ITEM,
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": '{"x": 1}'},
        {"type": "function_call_output", "call_id": "b", "output": "two"},
        {
            "type": "function_call_output",
            "call_id": "a",
            "output": [{"type": "input_text", "text": "one"}],
        },
    ]
    call = decode_responses(request(input=items, tools=[tool]))
    _, (role, calls), (_, results) = plain(
        asked(request(input=items, tools=[tool])).messages
    )
    assert role == "assistant"
    assert calls == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}},
    ]
    assert results == [
        {"type": "tool_result", "tool_use_id": "a", "content": [text_of("one")]},
        {"type": "tool_result", "tool_use_id": "b", "content": "two"},
    ]
    [offered] = call.request.tools
    assert json.loads(offered.raw) == {
        "name": "f",
        "input_schema": {"type": "object", "properties": {}},
        "strict": True,
    }
    assert offered.at == "tools[0]"
    encoder = ResponseStream("abc", call.echo, lambda: 1.0)
    response = parse(whole(encoder, START, FINISHED))[-1]["response"]
    assert response["tools"] == [{**tool, "description": None}]
    assert response_errors(response) == []


def test_thinking_is_an_item_of_its_own() -> None:
    thinking = ThinkingDelta("h"), ThinkingDelta("m")
    data = whole(stream(), START, *thinking, TextDelta("yes"), FINISHED)
    response = parse(data)[-1]["response"]
    reasoning, message = response["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert message["content"][0]["text"] == "yes"
    assert len({reasoning["id"], message["id"]}) == 2


THOUGHTS: tuple[Event, ...] = (
    START,
    ThinkingDelta("h"),
    ThinkingDelta("m"),
    SignatureDelta("one"),
    ThinkingDelta("well"),
    SignatureDelta("two"),
    redacted_start("dark"),
    SignatureDelta("three"),
    TextDelta("yes"),
    FINISHED,
)


def sealed(prefix: str = "", **fields: Any) -> ResponseStream:
    echo = decode_responses(request(**fields)).echo
    return ResponseStream("abc", echo, lambda: 1.0, SEAL, prefix=prefix)


def test_each_block_of_thinking_is_an_item_with_its_seal() -> None:
    encoder = sealed(include=["reasoning.encrypted_content"])
    *items, message = parse(whole(encoder, *THOUGHTS))[-1]["response"]["output"]
    assert message["type"] == "message"
    assert [[part["text"] for part in item["summary"]] for item in items] == [
        ["hm"],
        ["well"],
        [],
        [],
    ]
    assert [SEAL.open(item["encrypted_content"], "") for item in items] == [
        {"thinking": "hm", "signature": "one", "model": "claude-test-1"},
        {"thinking": "well", "signature": "two", "model": "claude-test-1"},
        {"data": "dark", "model": "claude-test-1"},
        {"thinking": "", "signature": "three", "model": "claude-test-1"},
    ]


def test_seals_are_shown_to_who_asks_and_kept_for_all() -> None:
    encoder = sealed()
    data = whole(encoder, *THOUGHTS)
    assert all(b"encrypted_content" not in event.data for event in data)
    kept = [item for item in encoder.output if "encrypted_content" in item]
    assert len(kept) == 4
    document = kept_response(encoder.response, encoder.output)
    shown = shown_response(document, "completed", shows_seals=False)
    assert json.loads(shown) == parse(data)[-1]["response"]
    all_shown = json.loads(shown_response(document, "completed", shows_seals=True))
    assert all_shown["output"] == list(encoder.output)


def test_thinking_comes_back_as_it_was() -> None:
    encoder = sealed()
    whole(encoder, *THOUGHTS)
    items = [ITEM, *encoder.output, ITEM]
    question = asked(request(input=items))
    _, (_, blocks), _ = plain(question.messages)
    assert blocks == [
        {"type": "thinking", "thinking": "hm", "signature": "one"},
        {"type": "thinking", "thinking": "well", "signature": "two"},
        {"type": "redacted_thinking", "data": "dark"},
        {"type": "thinking", "thinking": "", "signature": "three"},
        text_of("yes"),
    ]
    keys = ("one", "two", "dark", "three")
    assert question.thinking_models == dict.fromkeys(keys, "claude-test-1")


def test_thinking_comes_back_with_what_stood_before_it() -> None:
    encoder = sealed("p1")
    whole(encoder, *THOUGHTS)
    question = asked(request(input=[ITEM, *encoder.output, ITEM]))
    keys = ("one", "two", "dark", "three")
    assert question.thinking_prefixes == dict.fromkeys(keys, "p1")


def test_seals_of_before_say_nothing_of_what_stood_before() -> None:
    sealed = {"thinking": "hm", "signature": "one", "model": "claude-test-1"}
    about = {"id": "rs_1", "summary": [], "encrypted_content": SEAL.close(sealed)}
    answer = {"role": "assistant", "content": "earlier"}
    items = [ITEM, {"type": "reasoning", **about}, answer, ITEM]
    question = asked(request(input=items))
    assert question.thinking_models == {"one": "claude-test-1"}
    assert question.thinking_prefixes == {}


def test_thinking_that_nothing_came_of_is_left_out() -> None:
    encoder = sealed()
    whole(encoder, START, SignatureDelta("one"), Finished("max_tokens", USAGE))
    told = assembled(request(input=[ITEM, *encoder.output, ITEM]))
    assert plain(told.request.messages) == [("user", "x"), ("user", "x")]
    assert told.ignored == ("input[1]",)


def not_ours(change: str) -> str:
    """What is sealed, and cannot be opened here."""
    good = SEAL.close({"summary": "s"})
    flipped = good[:20] + ("A" if good[20] != "A" else "B") + good[21:]
    return {
        "foreign": Encryptor(new_key()).close({"summary": "s"}),
        "cut": good[:-8],
        "flipped": flipped,
        "not ASCII": good + "é",
    }[change]


@pytest.mark.parametrize("change", ["foreign", "cut", "flipped", "not ASCII"])
def test_summary_that_cannot_be_opened_is_refused(change: str) -> None:
    """Without it the conversation would be another one."""
    item = {"type": "compaction", "encrypted_content": not_ours(change)}
    with pytest.raises(InvalidEncryptedContent) as caught:
        asked(request(input=[item, ITEM]))
    assert caught.value.param == "input[0].encrypted_content"


@pytest.mark.parametrize("change", ["foreign", "cut", "flipped", "not ASCII"])
def test_thinking_that_cannot_be_opened_is_left_out_and_named(change: str) -> None:
    """A conversation may have been begun with another provider."""
    about = {"id": "rs_1", "summary": [], "encrypted_content": not_ours(change)}
    answer = {"role": "assistant", "content": "earlier"}
    items = [ITEM, {"type": "reasoning", **about}, answer, ITEM]
    told = assembled(request(input=items))
    assert plain(told.request.messages) == [
        ("user", "x"),
        ("assistant", "earlier"),
        ("user", "x"),
    ]
    assert told.ignored == ("input[1].encrypted_content",)


@pytest.mark.parametrize("kind", ["image_generation_call", "mcp_call", "dream"])
def test_item_of_a_tool_that_ran_elsewhere_is_left_out_and_named(kind: str) -> None:
    items = [ITEM, {"type": kind, "id": "x_1", "status": "completed", "result": None}]
    told = assembled(request(input=[*items, ITEM]))
    assert plain(told.request.messages) == [("user", "x"), ("user", "x")]
    assert told.ignored == ("input[1]",)


def test_instructions_behind_the_answer_stay_there() -> None:
    items = [
        ITEM,
        {"role": "assistant", "content": "two"},
        {"role": "developer", "content": "Now sum it up."},
    ]
    assert plain(asked(request(input=items)).messages) == [
        ("user", "x"),
        ("assistant", "two"),
        ("system", "Now sum it up."),
    ]


@pytest.mark.parametrize("arguments", ["[", "", "null", '"{\\"a\\": 1}"'])
def test_arguments_that_are_no_object_are_mended_and_named(arguments: str) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f"}
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    items = [ITEM, {**call, "arguments": arguments}, output]
    told = assembled(request(input=items))
    _, (_, [block]), _ = plain(told.request.messages)
    assert isinstance(block["input"], dict)
    assert told.adjusted == ("input[1].arguments",)


def test_summary_stands_for_what_was_before() -> None:
    item = {"type": "compaction", "encrypted_content": SEAL.close({"summary": "S."})}
    (_, summary), question = plain(asked(request(input=[item, ITEM])).messages)
    assert summary.endswith("\n\nS.")
    assert question == ("user", "x")


def test_queued_response_is_told_first() -> None:
    encoder = stream(background=True)
    told = parse([*encoder.queue(), *whole(encoder, START, TextDelta("a"), FINISHED)])
    kinds = [event["type"] for event in told]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert [event["response"]["status"] for event in told[:3]] == [
        "queued",
        "queued",
        "in_progress",
    ]
    for event in told:
        assert response_event_errors(event) == []


def test_cancelled_response_ends_where_it_was() -> None:
    encoder = stream(background=True)
    data = [*encoder.queue(), *encoder.encode([START, TextDelta("half")])]
    told = parse([*data, *encoder.cancel(), *encoder.conclude()])
    assert told[-1]["type"] == "response.failed"
    response = told[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["error"] is None
    assert response["output"][0]["content"][0]["text"] == "half"
    assert response_errors(response) == []


def test_what_could_not_be_kept_has_failed() -> None:
    encoder = stream()
    data = encoder.encode([START, TextDelta("all"), FINISHED])
    assert parse([*data, *encoder.conclude()])[-1]["type"] == "response.completed"
    told = parse([*data, *encoder.conclude(StorageFailed("disk full"))])
    assert [event["type"] for event in told[-2:]] == ["error", "response.failed"]
    assert told[-1]["response"]["error"]["message"] == "disk full"
    assert response_errors(told[-1]["response"]) == []


def test_a_request_of_many_lines_is_repeated_on_one() -> None:
    schema = {"type": "object", "properties": {"a b": {"enum": ["\r\n "]}}}
    tool = {"type": "function", "name": "look", "parameters": schema}
    form = {"type": "json_schema", "name": "answer", "schema": schema}
    body = {"input": "hello", "tools": [tool], "text": {"format": form}}
    lines = json.dumps(body, indent=1).replace("\n", "\r\n").encode()
    encoder = ResponseStream("abc", decode_responses(lines).echo, lambda: 1.0)
    # The data of a server-sent event ends at the line's end.
    last = parse(whole(encoder, START, FINISHED))[-1]["response"]
    assert last["tools"][0]["parameters"] == schema
    assert last["text"]["format"]["schema"] == schema


def test_a_stream_that_was_kept_has_the_same_events() -> None:
    texts = [TextDelta("a\n\nb"), TextDelta("\u2028\x85\x1c"), TextDelta("c")]
    wire = whole(stream(), START, *texts, Failed(Overloaded("busy")))
    assert decode_events(encode_events(wire)) == wire
    # An event's place in the list is its number.
    assert [event["sequence_number"] for event in parse(wire)] == [*range(len(wire))]


text = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from("\0\u2028\u2029\x85\n😀"),
    min_size=1,
    max_size=12,
)
inner = st.one_of(
    text.map(lambda name: call_start(f"id {name}", name)),
    text.map(InputJSONDelta),
    text.map(TextDelta),
    text.map(ThinkingDelta),
    text.map(SignatureDelta),
    text.map(redacted_start),
    st.just(UpstreamRetry("overloaded", 1, 0.5)),
    st.just(START),
)
ends = st.one_of(
    st.sampled_from(
        ["end_turn", "max_tokens", "refusal", "tool_use", "pause_turn", "of tomorrow"]
    ).map(lambda reason: Finished(reason, USAGE)),
    st.just(Failed(ClaudeFailed("it broke"))),
)


@given(st.lists(inner, max_size=15), ends, st.booleans())
def test_any_answer_keeps_the_rules(
    middle: Sequence[Event], end: Event, one_by_one: bool
) -> None:
    events: list[Event] = [START, *middle, end]
    encoder = sealed(include=["reasoning.encrypted_content"])
    batches = [[event] for event in events] if one_by_one else [events]
    data = [event for batch in batches for event in encoder.encode(batch)]
    told = parse([*data, *encoder.conclude()])
    for event in told:
        assert response_event_errors(event) == []
    opened: dict[str, str] = {}
    done: list[Any] = []
    for event in told:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert opened == {}
            opened[event["item"]["id"]] = ""
            assert event["output_index"] == len(done)
        elif kind.endswith(("_text.delta", "_arguments.delta")):
            opened[event["item_id"]] += event["delta"]
        elif kind.endswith("_text.done"):
            assert opened[event["item_id"]] == event["text"]
        elif kind.endswith("_arguments.done"):
            assert opened[event["item_id"]] == event["arguments"]
        elif kind == "response.output_item.done":
            item = event["item"]
            parts = item.get("content") or item.get("summary") or ()
            # Thinking need not show anything.
            bare = [item.get("arguments", "")]
            told_texts = [part["text"] for part in parts] or bare
            assert told_texts == [opened.pop(item["id"])]
            done.append(item)
    terminal = ("response.completed", "response.incomplete", "response.failed")
    assert [e["type"] for e in told if e["type"] in terminal] == [told[-1]["type"]]
    assert told[-1]["response"]["output"] == done
    assert response_errors(told[-1]["response"]) == []
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "".join(
        e["delta"] for e in told if e["type"] == "response.output_text.delta"
    )


def one_after_the_other(events: list[Event]) -> list[Event]:
    """The events without input of a call that another block has followed."""
    kept: list[Event] = []
    for event in events:
        follows = kept[-1:] and isinstance(kept[-1], ContentBlockStart | InputJSONDelta)
        if follows or not isinstance(event, InputJSONDelta):
            kept.append(event)
    return kept


pieces = st.lists(inner, max_size=10).map(one_after_the_other)


@given(pieces, pieces)
def test_document_is_what_a_stream_ends_with(
    first: list[Event], second: list[Event]
) -> None:
    """The first try of the last message is void; nothing else is lost."""
    streamed = stream()
    streamed.encode([START, *first, START, *second, FINISHED])
    collector = ResponseDocument(stream())
    cut: list[Event] = [TextDelta("to be cut"), ThinkingDelta("too")]
    collector.receive([*in_blocks([START, *first, START, *cut])])
    assert not collector.is_over
    collector.receive([*in_blocks([Restarted(), START, *second, FINISHED])])
    assert collector.is_over
    document = json.loads(collector.encode())
    assert document == json.loads(json.dumps(streamed.response))
    assert response_errors(document) == []
    assert (collector.model, collector.usage) == ("claude-test-1", USAGE)


def test_document_of_a_failure_is_its_error() -> None:
    collector = ResponseDocument(stream())
    error = ClaudeFailed("it broke")
    collector.receive([*in_blocks([START, TextDelta("half"), Failed(error)])])
    assert collector.is_over
    assert collector.error is error


def test_nothing_follows_the_end() -> None:
    encoder = stream()
    encoder.encode([START, FINISHED])
    assert not encoder.encode([TextDelta("late"), FINISHED])
