"""Requests of ``POST /chat/completions``, translated to the Messages API."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy.api.chat.request import DecodedChatRequest, decode_chat
from ccproxy.core.blocks import is_blank
from ccproxy.core.errors import (
    ClientError,
    InvalidRequest,
    MissingParameter,
    UnsupportedValue,
)
from ccproxy.core.messages import MessagesRequest, ToolChoice
from tests.support.requests import told_messages, told_tools

HELLO = {"role": "user", "content": "hello"}


def call(*messages: Mapping[str, Any], **fields: Any) -> DecodedChatRequest:
    """Decode a request; without messages it says hello."""
    body = {"messages": messages or [HELLO], **fields}
    return decode_chat(json.dumps(body).encode())


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def part(text: str, kind: str = "text") -> dict[str, str]:
    return {"type": kind, "text": text}


def told(decoded: DecodedChatRequest) -> list[tuple[str, Any]]:
    return told_messages(decoded.request.messages)


# Messages.


def test_a_text_of_the_user() -> None:
    assert told(call(user("hello"))) == [("user", "hello")]


def test_a_conversation() -> None:
    decoded = call(user("a"), assistant("b"), user("c"))
    assert told(decoded) == [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert [message.at for message in decoded.request.messages] == [
        *("messages[0]", "messages[1]", "messages[2]")
    ]


def test_a_conversation_may_begin_or_end_with_the_assistant() -> None:
    decoded = call(assistant("a"), user("b"), assistant("c"))
    assert told(decoded) == [("assistant", "a"), ("user", "b"), ("assistant", "c")]


def test_messages_in_a_row_stay_as_they_are() -> None:
    decoded = call(user("a"), user("b"), assistant("c"), assistant("d"), user("e"))
    roles = [role for role, _ in told(decoded)]
    assert roles == ["user", "user", "assistant", "assistant", "user"]


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_parts_of_text_are_blocks(kind: str) -> None:
    decoded = call(user([part("a", kind), part("b", kind)]))
    assert told(decoded) == [("user", [part("a"), part("b")])]
    [message] = decoded.request.messages
    assert [block.at for block in message.blocks] == [
        *("messages[0].content[0]", "messages[0].content[1]")
    ]


def test_blank_texts_are_left_out_and_named() -> None:
    decoded = call(
        user([part(" "), part("a"), part("")]),
        assistant("\n"),
        {"role": "system", "content": "\t"},
        assistant([part(" ")]),
        user("b"),
    )
    assert told(decoded) == [("user", [part("a")]), ("user", "b")]
    assert decoded.ignored == (
        *("messages[0].content[0]", "messages[0].content[2]"),
        *("messages[1].content", "messages[2].content", "messages[3].content[0]"),
    )


def test_white_space_around_a_text_is_kept() -> None:
    assert told(call(user("\n  hello \n"))) == [("user", "\n  hello \n")]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_in_front_are_the_system_prompt(role: str) -> None:
    decoded = call({"role": role, "content": "be kind"}, HELLO)
    assert decoded.request.system == "be kind"
    assert told(decoded) == [("user", "hello")]


def test_instructions_later_on_stay_where_they_are() -> None:
    decoded = call(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [part("b"), part(" "), part("c")]},
        user("hello"),
        {"role": "developer", "content": [part("d"), part("e")]},
        assistant("hi"),
        {"role": "system", "content": "f"},
    )
    # Parts of one message in front are one text; later on each stays a block.
    assert decoded.request.system == "a\n\nb\n\nc"
    assert told(decoded) == [
        *(("user", "hello"), ("system", [part("d"), part("e")])),
        *(("assistant", "hi"), ("system", "f")),
    ]
    assert decoded.ignored == ("messages[1].content[1]",)


def test_of_instructions_alone_the_last_are_what_is_asked() -> None:
    decoded = call(
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Describe the weather in Oslo."},
        {"role": "developer", "content": " "},
    )
    assert decoded.request.system == "Be brief."
    assert told(decoded) == [("user", "Describe the weather in Oslo.")]
    assert decoded.adjusted == ("messages[1].role",)


def test_without_instructions_the_system_prompt_is_empty() -> None:
    assert call(HELLO).request.system == ""
    assert call({"role": "system", "content": " \n"}, HELLO).request.system == ""


def test_a_refusal_of_the_assistant_is_its_text() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "no"}
    assert told(call(user("a"), refused, user("b")))[1] == ("assistant", "no")
    refused = assistant([{"type": "refusal", "refusal": "no"}])
    assert told(call(user("a"), refused, user("b")))[1] == ("assistant", [part("no")])


def test_half_a_surrogate_pair_is_mended_and_named() -> None:
    body = rb'{"messages":[{"role":"user","content":"cut \ud83d here"}]}'
    decoded = decode_chat(body)
    assert told(decoded) == [("user", "cut \ufffd here")]
    assert decoded.adjusted == ("messages[0].content",)


def test_a_byte_order_mark_is_no_text() -> None:
    body = json.dumps({"messages": [HELLO]}).encode("utf-8-sig")
    assert decode_chat(body) == call()


def test_breakpoints_of_the_client_are_carried() -> None:
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    decoded = call(
        {"role": "system", "content": [{**part("s"), **cached}]},
        user([{**part("a"), **cached}]),
        tools=[{"type": "function", "function": {"name": "f"}, **cached}],
    )
    assert told(decoded) == [("user", [{**part("a"), **cached}])]
    assert told_tools(decoded.request.tools)[0]["cache_control"] == {
        "type": "ephemeral",
        "ttl": "1h",
    }
    # The system prompt is one text to the CLI.
    assert decoded.ignored == ("messages[0].content[0].cache_control",)


# What real clients send.


def test_an_assistant_message_without_content_says_nothing() -> None:
    # LiteLLM.
    empty = {"role": "assistant", "provider_specific_fields": {"refusal": None}}
    decoded = call(user("a"), empty, user("b"))
    assert told(decoded) == [("user", "a"), ("user", "b")]
    assert decoded.ignored == ()


def test_an_assistant_message_with_empty_tool_calls_is_a_message() -> None:
    message = {"role": "assistant", "content": "b", "tool_calls": [], "name": "bot"}
    decoded = call(user("a"), message, user("c"))
    assert told(decoded)[1] == ("assistant", "b")


def test_nulls_of_an_sdk_are_absent_fields() -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "b",
        "refusal": None,
        "tool_calls": None,
        "function_call": None,
        "audio": None,
        "annotations": [],
    }
    decoded = call(
        user("a"),
        message,
        user("c"),
        **dict.fromkeys(
            (
                *("max_tokens", "max_completion_tokens", "stop", "n", "stream"),
                *("stream_options", "temperature", "top_p", "tools", "tool_choice"),
                *("functions", "function_call", "response_format", "logprobs", "model"),
                *("reasoning_effort", "logit_bias", "modalities", "audio"),
            )
        ),
    )
    assert decoded == call(user("a"), assistant("b"), user("c"))


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tools": [], "tool_choice": "auto"},
        {"tool_choice": "none"},
        {"functions": [], "function_call": "auto"},
        {"parallel_tool_calls": False},
        {"response_format": {"type": "text"}},
        {"modalities": ["text"]},
        {"logprobs": False, "top_logprobs": 0},
        {"logit_bias": {}},
        {"user": "", "metadata": {}, "store": False, "service_tier": "auto"},
        {"extra_body": {"anything": None}, "not_of_this_api": False},
        {"stream_options": {"include_usage": False, "include_obfuscation": False}},
        {"stream": False, "n": 1},
    ],
)
def test_what_asks_for_nothing_changes_nothing(fields: dict[str, Any]) -> None:
    assert call(**fields) == call()


def test_a_request_of_openclaw() -> None:
    decoded = call(
        {"role": "system", "content": "You are OpenClaw."},
        {"role": "user", "content": "Context: today"},
        {"role": "user", "content": [part("hi")]},
        model="opus",
        stream=True,
        stream_options={"include_usage": True},
        max_completion_tokens=8192,
        store=False,
    )
    assert decoded.request.model == "opus"
    assert decoded.request.system == "You are OpenClaw."
    assert told(decoded) == [("user", "Context: today"), ("user", [part("hi")])]
    assert decoded.request.max_tokens == 8192
    assert decoded.stream
    assert decoded.include_usage
    assert decoded.ignored == ()


# Parameters.


def test_the_model_is_the_clients_word() -> None:
    assert call(model="anthropic/claude-sonnet-4.5").request.model == (
        "anthropic/claude-sonnet-4.5"
    )


def test_no_model_is_an_empty_name() -> None:
    assert call().request.model == ""


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_bound_on_the_answer(name: str) -> None:
    request = call(**{name: 50}).request
    assert request.max_tokens == 50
    assert request.paths["max_tokens"] == name


def test_the_newer_bound_wins() -> None:
    decoded = call(max_tokens=5, max_completion_tokens=6)
    assert decoded.request.max_tokens == 6
    assert decoded.request.paths["max_tokens"] == "max_completion_tokens"
    assert decoded.ignored == ("max_tokens",)
    assert call(max_tokens=6, max_completion_tokens=6).ignored == ()


@pytest.mark.parametrize(
    ("stop", "param"),
    [(["a", "\n" * 101], "stop[1]"), (["\n", *"ab", *["\t "] * 32], "stop[34]")],
)
def test_stop_sequences_of_white_space_have_a_limit(
    stop: list[str], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        call(stop=stop)
    assert refused.value.param == param
    assert len(call(stop=[*["\n" * 100] * 32, *["END" * 100] * 99]).ignored) == 0


@pytest.mark.parametrize(
    ("stop", "expected", "ignored"),
    [
        ("END", ("END",), ()),
        (["a", "b"], ("a", "b"), ()),
        ([], (), ()),
        (["\n\nQ:"], ("\n\nQ:",), ()),
        # What the model cannot stop at is looked for elsewhere.
        ("\n", ("\n",), ()),
        ("", (), ("stop",)),
        (["", "END", ""], ("END",), ("stop[0]", "stop[2]")),
    ],
)
def test_stop_sequences(
    stop: Any, expected: tuple[str, ...], ignored: tuple[str, ...]
) -> None:
    decoded = call(stop=stop)
    assert decoded.request.stop_sequences == expected
    assert decoded.ignored == ignored


@pytest.mark.parametrize(
    ("name", "effort", "adjusted"),
    [
        ("none", "low", ("reasoning_effort",)),
        ("minimal", "low", ("reasoning_effort",)),
        *((name, name, ()) for name in ("low", "medium", "high", "xhigh", "max")),
    ],
)
def test_reasoning_effort(name: str, effort: str, adjusted: tuple[str, ...]) -> None:
    decoded = call(reasoning_effort=name)
    assert decoded.request.effort == effort
    assert (decoded.effort, decoded.adjusted) == (name, adjusted)


def test_without_effort_the_model_decides() -> None:
    assert call().request.output_config is None


SCHEMA = {"type": "object", "properties": {"b": {}, "a": {"const": 1.0}}}


def test_a_schema_of_the_answer_is_carried_as_it_is() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    request = call(response_format=form, reasoning_effort="high").request
    assert request.output_config is not None
    assert (
        request.output_config.raw
        == json.dumps(
            {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
            separators=(",", ":"),
        )
        .replace(json.dumps(SCHEMA, separators=(",", ":")), json.dumps(SCHEMA))
        .encode()
    )
    assert request.paths["output_config.format.schema"] == (
        "response_format.json_schema.schema"
    )
    assert request.paths["output_config.effort"] == "reasoning_effort"


def test_any_object_may_be_the_answer() -> None:
    config = call(response_format={"type": "json_object"}).request.output_config
    assert config is not None
    assert json.loads(config.raw) == {"format": {"type": "json_object"}}


@pytest.mark.parametrize("number", [1, 2, 128])
def test_several_choices(number: int) -> None:
    assert call(n=number).choices == number


def test_streaming_is_off_unless_asked_for() -> None:
    assert (call().stream, call(stream=True).stream) == (False, True)


def test_usage_is_streamed_only_if_asked_for() -> None:
    assert not call(stream=True).include_usage
    assert not call(stream=True, stream_options={}).include_usage
    assert call(stream=True, stream_options={"include_usage": True}).include_usage


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("presence_penalty", 0.5),
        ("frequency_penalty", -2),
        ("seed", 0),
        # guidance always sends these two.
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"50256": -100}),
        ("prediction", {"type": "content", "content": "x"}),
        ("verbosity", "low"),
        ("user", "u"),
        ("metadata", {"a": "b"}),
        ("store", True),
        ("service_tier", "flex"),
        ("safety_identifier", "s"),
        ("prompt_cache_key", "k"),
        ("not_of_this_api", {"a": [1]}),
        ("stream_options.include_obfuscation", True),
    ],
)
def test_what_has_no_effect_is_named(name: str, value: Any) -> None:
    top, _, inner = name.partition(".")
    decoded = call(**{top: {inner: value} if inner else value})
    assert decoded.ignored == (name,)
    assert decoded.request == call().request


def test_sampling_is_left_to_who_knows_the_model() -> None:
    decoded = call(temperature=0.5, top_p=1, top_k=3, seed=1)
    extra = {name: bytes(raw) for name, raw in decoded.request.extra.items()}
    assert extra == {"temperature": b"0.5", "top_p": b"1", "top_k": b"3"}
    assert decoded.ignored == ("seed",)


# Errors.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
    ],
)
def test_what_cannot_be_done_is_unsupported(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedValue) as caught:
        call(**fields)
    assert caught.value.param == param
    assert caught.value.code == "unsupported_value"
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (
            user([part("a"), {"type": "input_audio", "input_audio": {}}]),
            "messages[1].content[1].type",
        ),
        (
            user([{"type": "file", "file": {"file_id": "file-1"}}]),
            "messages[1].content[0].file.file_id",
        ),
    ],
)
def test_a_message_that_cannot_be_passed_on_is_unsupported(
    message: dict[str, Any], param: str
) -> None:
    with pytest.raises(UnsupportedValue) as caught:
        call(HELLO, message, HELLO)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"max_tokens": "100"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", None]}, "stop[1]"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": "2"}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"seed": 0.5}, "seed"),
        ({"logit_bias": []}, "logit_bias"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"reasoning_effort": ""}, "reasoning_effort"),
        ({"response_format": "text"}, "response_format"),
        ({"tools": {}}, "tools"),
        ({"modalities": "text"}, "modalities"),
    ],
)
def test_a_wrong_value_names_its_parameter(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call(**fields)
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"model": "opus"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [HELLO, {}]}, "messages[1].role"),
        ({"messages": [user([{"text": "a"}])]}, "messages[0].content[0].type"),
        ({"messages": [HELLO], "response_format": {}}, "response_format.type"),
        ({"messages": [user([{"type": "text"}])]}, "messages[0].content[0].text"),
        (
            {"messages": [HELLO, assistant([{"type": "refusal"}]), HELLO]},
            "messages[1].content[0].refusal",
        ),
    ],
)
def test_a_missing_field_is_named(body: object, param: str) -> None:
    with pytest.raises(MissingParameter) as caught:
        decode_chat(json.dumps(body).encode())
    assert caught.value.param == param
    assert caught.value.code == "missing_required_parameter"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ("hello", "messages"),
        (None, "messages"),
        ([], "messages"),
        ([{"role": "system", "content": " "}], "messages"),
        (["hello"], "messages[0]"),
        ([{"role": 1, "content": "a"}], "messages[0].role"),
        ([HELLO, {"role": "robot", "content": "a"}], "messages[1].role"),
        ([{"role": "User", "content": "a"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([user([part("a"), "b"])], "messages[0].content[1]"),
        ([user([{"type": "text", "text": 1}])], "messages[0].content[0].text"),
        ([user("")], "messages[0].content"),
        ([user(" \n\t")], "messages[0].content"),
        ([user([])], "messages[0].content"),
        ([user([part(" "), part("")])], "messages[0].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([HELLO, user(" ")], "messages[1].content"),
    ],
)
def test_wrong_messages_name_the_place(messages: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_chat(json.dumps({"messages": messages}).encode())
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"[]", b"null", b'"hello"', b"7"])
def test_a_body_that_is_no_object_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_chat(body)
    assert caught.value.param is None


# Whatever comes.


def outcome(body: bytes) -> DecodedChatRequest | ClientError:
    """What a body is decoded to; any other exception fails the test."""
    try:
        return decode_chat(body)
    except ClientError as error:
        return error


def is_sound(found: DecodedChatRequest | ClientError) -> bool:
    """Whether there is something to ask, or to tell the client."""
    if isinstance(found, ClientError):
        return bool(found.message)
    return bool(found.request.messages)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(2**63) - 1, 2**64])
    | st.floats()
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = (
    *("messages", "model", "stream", "stream_options", "max_tokens", "stop", "n"),
    *("max_completion_tokens", "reasoning_effort", "temperature", "top_p", "top_k"),
    *("presence_penalty", "seed", "logit_bias", "prediction", "logprobs", "audio"),
    *("top_logprobs", "modalities", "response_format", "tools", "tool_choice"),
)
WELL_FORMED = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
BLANK = st.sampled_from(["", " ", "\n", "\ufeff", "\u2028\t"])
CONTENTS = st.one_of(
    WELL_FORMED,
    BLANK,
    st.none(),
    st.lists((WELL_FORMED | BLANK).map(part), max_size=3),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant"]),
            "content": CONTENTS,
        }
    ),
    max_size=8,
)


def told_texts(request: MessagesRequest, *roles: str) -> list[str]:
    """The texts of some roles that the model is shown, in order."""
    return [
        json.loads(bytes(block.fields["text"]))
        for message in request.messages
        if message.role in roles
        for block in message.blocks
    ]


def texts_of(messages: list[dict[str, Any]], *roles: str) -> list[str]:
    """The texts of some roles that are not blank, in order."""
    found: list[str] = []
    for message in messages:
        if message["role"] in roles:
            content = message["content"] or ""
            parts = [part(content)] if isinstance(content, str) else content
            found += [part["text"] for part in parts if not is_blank(part["text"])]
    return found


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'{"messages": ' + b"[" * 100)
@example(b"\xef\xbb\xbf{}")
@example(b'{"messages": "\xed\xa0\x80"}')
def test_any_body_is_a_call_or_a_client_error(body: bytes) -> None:
    assert is_sound(outcome(body))


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    st.booleans(),
)
@example({"top_k": 10**400}, True)
def test_any_value_of_any_field_is_taken_or_a_client_error(
    fields: dict[str, Any], with_messages: bool
) -> None:
    body = {"messages": [HELLO], **fields} if with_messages else fields
    encoded = json.dumps(body).encode()
    assert is_sound(outcome(encoded))


@given(MESSAGES, WELL_FORMED.filter(lambda text: not is_blank(text)))
def test_any_conversation_keeps_its_texts_in_order(
    messages: list[dict[str, Any]], last: str
) -> None:
    request = call(*messages, user(last)).request
    spoken = ("user", "assistant")
    assert told_texts(request, *spoken) == [*texts_of(messages, *spoken), last]
    assert not any(map(is_blank, told_texts(request, *spoken, "system")))
    instructions = [
        (request.system, index)
        for index, message in enumerate(request.messages)
        if message.role == "system"
    ]
    joined = [request.system] if request.system else []
    told = "".join([*joined, *told_texts(request, "system")]).replace("\n\n", "")
    given = "".join(texts_of(messages, "system", "developer")).replace("\n\n", "")
    assert told == given
    assert all(index > 0 for _, index in instructions)


@given(MESSAGES)
def test_any_conversation_is_asked_or_refused_with_a_place(
    messages: list[dict[str, Any]],
) -> None:
    found = outcome(json.dumps({"messages": messages}).encode())
    if isinstance(found, DecodedChatRequest):
        assert found.request.messages
    else:
        assert type(found) is InvalidRequest
        assert (found.param or "").startswith("messages")


# Shapes of other APIs, as Cursor and others send them.

SCHEMA_OF_PATH = {"type": "object", "properties": {"path": {"type": "string"}}}
NESTED = {"name": "read_file", "description": "Reads.", "parameters": SCHEMA_OF_PATH}


@pytest.mark.parametrize(
    ("tool", "at"),
    [
        ({"type": "function", "function": NESTED}, "tools[0].function"),
        ({"function": NESTED}, "tools[0].function"),
        ({"type": "function", **NESTED}, "tools[0]"),
        (NESTED, "tools[0]"),
        (
            {
                "name": "read_file",
                "description": "Reads.",
                "input_schema": SCHEMA_OF_PATH,
            },
            "tools[0]",
        ),
    ],
)
def test_tools_of_any_form(tool: dict[str, Any], at: str) -> None:
    decoded = call(tools=[tool])
    assert told_tools(decoded.request.tools) == [
        {"name": "read_file", "description": "Reads.", "input_schema": SCHEMA_OF_PATH}
    ]
    [told] = decoded.request.tools
    assert told.at == at
    schema = "input_schema" if "input_schema" in tool else "parameters"
    assert told.renamed.get("input_schema", "input_schema") == schema


def test_custom_tools_may_be_flat() -> None:
    form = {"type": "grammar", "syntax": "regex", "definition": "a+"}
    decoded = call(tools=[{"type": "custom", "name": "patch", "format": form}])
    [tool] = told_tools(decoded.request.tools)
    assert tool["description"] == "The input must match this regex grammar:\n\na+"


@pytest.mark.parametrize(
    ("choice", "told_choice"),
    [
        ({"type": "auto"}, None),
        ({"type": "none"}, ToolChoice("none")),
        ({"type": "any"}, ToolChoice("any")),
        ({"type": "tool", "name": "read_file"}, ToolChoice("tool", "read_file")),
    ],
)
def test_choices_of_the_messages_api(
    choice: object, told_choice: ToolChoice | None
) -> None:
    assert call(tools=[NESTED], tool_choice=choice).request.tool_choice == told_choice


@pytest.mark.parametrize(
    "given_input", ["hello", [user([part("hello", "input_text")])], [HELLO]]
)
def test_messages_may_be_called_input(given_input: object) -> None:
    body = json.dumps({"input": given_input}).encode()
    request = decode_chat(body).request
    assert told_texts(request, "user") == ["hello"]
    assert request.messages[0].at.startswith("input")


def test_blocks_of_the_messages_api() -> None:
    use = {"type": "tool_use", "id": "t", "name": "read_file", "input": {"path": "a"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [part("empty")]}
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    decoded = call(
        user("read"),
        assistant([part("I look."), use]),
        user([result, {"type": "image", "source": source}, part("go on")]),
    )
    assert told(decoded) == [
        ("user", "read"),
        ("assistant", [part("I look."), use]),
        ("user", [result, {"type": "image", "source": source}, part("go on")]),
    ]


@pytest.mark.parametrize(
    ("role", "block"),
    [
        ("user", {"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        ("assistant", {"type": "tool_result", "tool_use_id": "t"}),
        ("user", {"type": "thinking", "thinking": "", "signature": "s"}),
    ],
)
def test_blocks_stand_where_they_belong(role: str, block: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call({"role": role, "content": [block]}, HELLO)
    assert caught.value.param == "messages[0].content[0].type"
