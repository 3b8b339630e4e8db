"""Requests of the Responses API: decoded, or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.responses.input.request import (
    decode_responses,
)
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.errors import (
    ClientError,
)
from tests.support.spec import response_errors
from tests.unit.api.responses.samples import (
    FINISHED,
    ITEM,
    SEAL,
    START,
    asked,
    assembled,
    parse,
    plain,
    request,
    text_of,
    whole,
)


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
    assert call.ignored == ("presence_penalty", "client_metadata")
    assert call.adjusted == ("reasoning.effort",)
    assert question.paths["max_tokens"] == "max_output_tokens"
    assert call.stream


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
        "input[0]",
        "invalid_request",
    ),
    (
        {"input": [ITEM, {"type": "function_call_output", "output": "x"}]},
        "input[1]",
        "invalid_request",
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
    (
        {"text": {"format": {"type": "xml"}}},
        "text.format.type",
        "unsupported_value",
    ),
    (
        {"text": {"format": {"type": "json_schema", "schema": None}}},
        "text.format.schema",
        "missing_required_parameter",
    ),
    ({"max_output_tokens": 0}, "max_output_tokens", "invalid_request"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_request"),
    ({"temperature": "hot"}, "temperature", "invalid_request"),
    ({"metadata": {f"k{n}": "" for n in range(17)}}, "metadata", "invalid_request"),
    ({"metadata": {"k": "v" * 513}}, "metadata", "invalid_request"),
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
        {"type": "tool_result", "tool_use_id": "b", "content": "two"},
        {"type": "tool_result", "tool_use_id": "a", "content": [text_of("one")]},
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
    item = {"type": "compaction", "encrypted_content": SEAL.encrypt({"summary": "S."})}
    (_, summary), question = plain(asked(request(input=[item, ITEM])).messages)
    assert summary.endswith("\n\nS.")
    assert question == ("user", "x")
