"""``POST /chat/completions``: the request, decoded to a prompt."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy.conversation import Effort, Message, Prompt, Role, TextBlock, is_blank
from ccproxy.dialects.chat_request import ChatCall, decode_chat
from ccproxy.errors import (
    ClientError,
    InvalidRequest,
    MissingParameter,
    UnsupportedValue,
)

HELLO = {"role": "user", "content": "hello"}


def call(*messages: Mapping[str, Any], **fields: Any) -> ChatCall:
    """Decode a request; without messages it says hello."""
    body = {"messages": messages or [HELLO], **fields}
    return decode_chat(json.dumps(body).encode())


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def part(text: str, kind: str = "text") -> dict[str, str]:
    return {"type": kind, "text": text}


def said(role: Role, *texts: str) -> Message:
    return Message(role, tuple(map(TextBlock, texts)))


# Messages.


def test_a_text_of_the_user() -> None:
    assert call(user("hello")).prompt.messages == (said(Role.USER, "hello"),)


def test_a_conversation() -> None:
    decoded = call(user("a"), assistant("b"), user("c"))
    assert decoded.prompt.messages == (
        said(Role.USER, "a"),
        said(Role.ASSISTANT, "b"),
        said(Role.USER, "c"),
    )


def test_a_conversation_may_begin_with_the_assistant() -> None:
    decoded = call(assistant("a"), user("b"))
    assert decoded.prompt.messages == (said(Role.ASSISTANT, "a"), said(Role.USER, "b"))


def test_user_messages_in_a_row_are_one_turn() -> None:
    decoded = call(user("a"), user("b"))
    assert decoded.prompt.messages == (said(Role.USER, "a", "b"),)


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_parts_of_text_are_blocks(kind: str) -> None:
    decoded = call(user([part("a", kind), part("b", kind)]))
    assert decoded.prompt.messages == (said(Role.USER, "a", "b"),)


def test_blank_parts_are_left_out() -> None:
    decoded = call(user([part(" "), part("a"), part("")]))
    assert decoded.prompt.messages == (said(Role.USER, "a"),)


def test_white_space_around_a_text_is_kept() -> None:
    decoded = call(user("\n  hello \n"))
    assert decoded.prompt.messages == (said(Role.USER, "\n  hello \n"),)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_are_the_system_prompt(role: str) -> None:
    prompt = call({"role": role, "content": "be kind"}, HELLO).prompt
    assert prompt.system == "be kind"
    assert prompt.messages == (said(Role.USER, "hello"),)


def test_all_instructions_are_one_system_prompt() -> None:
    decoded = call(
        {"role": "system", "content": "a"},
        user("hello"),
        {"role": "developer", "content": [part("b"), part(" "), part("c")]},
    )
    # Parts of one message are one text.
    assert decoded.prompt.system == "a\n\nb c"


def test_without_instructions_the_system_prompt_is_empty() -> None:
    assert call(HELLO).prompt.system == ""


def test_blank_instructions_are_none() -> None:
    assert call({"role": "system", "content": " \n"}, HELLO).prompt.system == ""


def test_a_refusal_of_the_assistant_is_its_text() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "no"}
    decoded = call(user("a"), refused, user("b"))
    assert decoded.prompt.messages[1] == said(Role.ASSISTANT, "no")


def test_a_refusal_part_of_the_assistant_is_its_text() -> None:
    refused = assistant([{"type": "refusal", "refusal": "no"}])
    decoded = call(user("a"), refused, user("b"))
    assert decoded.prompt.messages[1] == said(Role.ASSISTANT, "no")


# What real clients send.


def test_an_assistant_message_without_content_says_nothing() -> None:
    # LiteLLM.
    empty = {"role": "assistant", "provider_specific_fields": {"refusal": None}}
    decoded = call(user("a"), empty, user("b"))
    assert decoded.prompt.messages == (said(Role.USER, "a", "b"),)


def test_an_assistant_message_with_empty_tool_calls_is_a_message() -> None:
    message = {"role": "assistant", "content": "b", "tool_calls": [], "name": "bot"}
    decoded = call(user("a"), message, user("c"))
    assert decoded.prompt.messages[1] == said(Role.ASSISTANT, "b")


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
        {"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"safety_identifier": "s", "prompt_cache_key": "k"},
        {"extra_body": {"anything": [1, None]}, "not_of_this_api": True},
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
    assert decoded.prompt.model == "opus"
    assert decoded.prompt.messages == (said(Role.USER, "Context: today", "hi"),)
    assert decoded.prompt.max_tokens == 8192
    assert decoded.stream
    assert decoded.include_usage
    assert decoded.ignored == ()


# Parameters.


def test_the_model_is_the_clients_word() -> None:
    assert call(model="anthropic/claude-sonnet-4.5").prompt.model == (
        "anthropic/claude-sonnet-4.5"
    )


def test_no_model_is_an_empty_name() -> None:
    assert call().prompt.model == ""


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_bound_on_the_answer(name: str) -> None:
    assert call(**{name: 50}).prompt.max_tokens == 50


def test_the_newer_bound_wins() -> None:
    assert call(max_tokens=5, max_completion_tokens=6).prompt.max_tokens == 6


@pytest.mark.parametrize(
    ("stop", "expected"),
    [("END", ("END",)), (["a", "b"], ("a", "b")), ([], ()), (["\n\nQ:"], ("\n\nQ:",))],
)
def test_stop_sequences(stop: Any, expected: tuple[str, ...]) -> None:
    assert call(stop=stop).prompt.stop == expected


@pytest.mark.parametrize(
    ("name", "effort"),
    [
        ("none", Effort.LOW),
        ("minimal", Effort.LOW),
        ("low", Effort.LOW),
        ("medium", Effort.MEDIUM),
        ("high", Effort.HIGH),
        ("xhigh", Effort.XHIGH),
        ("max", Effort.MAX),
    ],
)
def test_reasoning_effort(name: str, effort: Effort) -> None:
    assert call(reasoning_effort=name).prompt.effort is effort


def test_without_effort_the_model_decides() -> None:
    assert call().prompt.effort is None


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
        ("temperature", 0),
        ("temperature", 0.7),
        ("top_p", 1),
        ("top_k", 40),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -2),
        ("seed", 0),
        ("logit_bias", {"50256": -100}),
        ("prediction", {"type": "content", "content": "x"}),
        ("verbosity", "low"),
    ],
)
def test_what_has_no_effect_is_named(name: str, value: Any) -> None:
    decoded = call(**{name: value})
    assert decoded.ignored == (name,)
    assert decoded.prompt == call().prompt


def test_sampling_is_forwarded_if_the_operator_says_so() -> None:
    body = {"messages": [HELLO], "temperature": 0.5, "top_p": 1, "top_k": 3, "seed": 1}
    decoded = decode_chat(json.dumps(body).encode(), forward_sampling=True)
    assert decoded.prompt.sampling == {"temperature": 0.5, "top_p": 1.0, "top_k": 3.0}
    assert decoded.ignored == ("seed",)


def test_a_whole_number_is_forwarded_as_one() -> None:
    # The Messages API takes `top_k` as an integer.
    body = {"messages": [HELLO], "top_k": 3}
    decoded = decode_chat(json.dumps(body).encode(), forward_sampling=True)
    assert json.dumps(decoded.prompt.sampling) == '{"top_k": 3}'


# Errors.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"stop": " \n"}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": ["END", "\n"]}, "stop[1]"),
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
        ([{"role": "system", "content": "be kind"}], "messages"),
        (["hello"], "messages[0]"),
        ([{"role": 1, "content": "a"}], "messages[0].role"),
        ([HELLO, {"role": "robot", "content": "a"}], "messages[1].role"),
        ([{"role": "User", "content": "a"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([user([part("a"), "b"])], "messages[0].content[1]"),
        ([user([{"type": "text", "text": 1}])], "messages[0].content[0].text"),
        ([HELLO, assistant("hi")], "messages[1].role"),
        (
            [HELLO, assistant("hi"), {"role": "system", "content": "s"}],
            "messages[1].role",
        ),
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


def outcome(body: bytes, *, forward_sampling: bool = False) -> ChatCall | ClientError:
    """What a body is decoded to; any other exception fails the test."""
    try:
        return decode_chat(body, forward_sampling=forward_sampling)
    except ClientError as error:
        return error


def is_sound(found: ChatCall | ClientError) -> bool:
    """Whether there is something to ask, or to tell the client."""
    if isinstance(found, ClientError):
        return bool(found.message)
    return bool(found.prompt.messages)


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


def told_texts(prompt: Prompt) -> list[str]:
    """The texts that the model is shown, in order."""
    return [
        block.text
        for message in prompt.messages
        for block in message.content
        if isinstance(block, TextBlock)
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
    st.booleans(),
)
@example({"top_k": 10**400}, True, False)
@example({"top_k": 10**400}, True, True)
def test_any_value_of_any_field_is_taken_or_a_client_error(
    fields: dict[str, Any], with_messages: bool, forward_sampling: bool
) -> None:
    body = {"messages": [HELLO], **fields} if with_messages else fields
    encoded = json.dumps(body).encode()
    assert is_sound(outcome(encoded, forward_sampling=forward_sampling))


@given(MESSAGES, WELL_FORMED.filter(lambda text: not is_blank(text)))
def test_any_conversation_keeps_the_invariants(
    messages: list[dict[str, Any]], last: str
) -> None:
    prompt = call(*messages, user(last)).prompt
    assert prompt.messages
    assert prompt.messages[-1].role is Role.USER
    assert all(one.role is not two.role for one, two in pairwise(prompt.messages))
    assert all(message.content for message in prompt.messages)
    assert not any(map(is_blank, told_texts(prompt)))


@given(MESSAGES, WELL_FORMED.filter(lambda text: not is_blank(text)))
def test_any_conversation_keeps_its_texts_in_order(
    messages: list[dict[str, Any]], last: str
) -> None:
    prompt = call(*messages, user(last)).prompt
    assert told_texts(prompt) == [*texts_of(messages, "user", "assistant"), last]
    instructions = [
        content if isinstance(content, str) else "".join(p["text"] for p in content)
        for content in (
            message["content"] or ""
            for message in messages
            if message["role"] in ("system", "developer")
        )
    ]
    assert prompt.system == "\n\n".join(t for t in instructions if not is_blank(t))


@given(MESSAGES)
def test_any_conversation_is_asked_or_refused_with_a_place(
    messages: list[dict[str, Any]],
) -> None:
    found = outcome(json.dumps({"messages": messages}).encode())
    if isinstance(found, ChatCall):
        assert found.prompt.messages[-1].role is Role.USER
    else:
        assert type(found) is InvalidRequest
        assert (found.param or "").startswith("messages")
