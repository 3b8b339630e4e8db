"""Chat requests composed to bodies, which the provider takes."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccproxy.api.chat.request import decode_chat
from ccproxy.core.errors import ClientError
from tests.support.composed import BETAS, HAIKU_4_5, OPUS, SONNET_5, composed, upstream
from tests.support.provider_rules import violations

PNG = b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000002000000020802000000fdd49a73"
        "0000000e4944415478da63a8070306080500290ba805fd16fd3a00000000"
        "49454e44ae426082"
    )
).decode()
MODELS = st.sampled_from([OPUS, SONNET_5, HAIKU_4_5])


def sent(body: dict[str, Any], model_id: str) -> dict[str, Any]:
    """What goes up for a body of chat completions."""
    request = decode_chat(json.dumps(body).encode()).request
    return upstream(composed(request, model_id, effort=request.effort).body, model_id)


# Any request that OpenAI's document allows.

TEXTS = st.text("ab \n\ufeff😀", max_size=5) | st.just("say")
PARTS = st.one_of(
    TEXTS.map(lambda text: {"type": "text", "text": text}),
    st.sampled_from(["image/png", "image/jpeg", ""]).map(
        lambda kind: {
            "type": "image_url",
            "image_url": {"url": f"data:{kind};base64,{PNG}"},
        }
    ),
    st.just(
        {
            "type": "file",
            "file": {"filename": "a", "file_data": "data:text/plain;base64,YQ=="},
        }
    ),
)
TEXT_PARTS = st.lists(
    TEXTS.map(lambda text: {"type": "text", "text": text}), min_size=1, max_size=2
)
NAMES = st.sampled_from(["look", "files.read", "a b", "x" * 150, "patch"])
IDS = st.text("ab:_", min_size=1, max_size=3)
ARGUMENTS = st.sampled_from(
    ["", "{}", "null", "[1]", '{"a": 1.0}', '{"a": "cut', '"{}"', '{"a": [1, {}]}']
)
DETAILS = st.sampled_from(
    [
        [],
        [{"type": "reasoning.encrypted", "data": "g", "format": "openai-responses-v1"}],
        [{"type": "reasoning.text", "text": "unsigned"}],
    ]
)


@st.composite
def loops(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Calls of the assistant, each with its result."""
    ids = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
    custom = {"name": "patch", "input": "text"}
    calls = [
        {"id": i, "type": "custom", "custom": custom}
        if draw(st.booleans())
        else {
            "id": i,
            "type": "function",
            "function": {"name": draw(NAMES), "arguments": draw(ARGUMENTS)},
        }
        for i in ids
    ]
    results = [
        {
            "role": "tool",
            "tool_call_id": i,
            "content": draw(TEXTS | TEXT_PARTS),
            "is_error": draw(st.booleans()),
        }
        for i in draw(st.permutations(ids))
    ]
    message = {
        "role": "assistant",
        "content": draw(st.none() | TEXTS | TEXT_PARTS),
        "tool_calls": calls,
        "reasoning_details": draw(DETAILS),
    }
    return [message, *results]


@st.composite
def messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    said = st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant"]),
            "content": TEXTS | TEXT_PARTS,
        }
    )
    shown = st.fixed_dictionaries(
        {"role": st.just("user"), "content": st.lists(PARTS, min_size=1, max_size=3)}
    )
    turns = st.one_of(said.map(lambda m: [m]), shown.map(lambda m: [m]), loops())
    found = [m for turn in draw(st.lists(turns, max_size=6)) for m in turn]
    return [*found, {"role": "user", "content": "last"}]


SCHEMAS = st.sampled_from(
    [
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"minimum": 1}}},
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    tools = [
        {
            "type": "function",
            "function": {
                "name": name,
                "parameters": draw(SCHEMAS),
                "strict": draw(st.booleans()),
            },
        }
        for name in names
    ]
    choices: list[Any] = [None, "auto", "none"]
    if names:
        named = {"type": "function", "function": {"name": names[0]}}
        allowed = {"mode": "auto", "tools": [named]}
        choices += ["required", named]
        choices += [{"type": "allowed_tools", "allowed_tools": allowed}]
    form = {"name": "n", "schema": draw(SCHEMAS), "strict": True}
    return draw(
        st.fixed_dictionaries(
            {"messages": messages(), "tools": st.just(tools)},
            optional={
                "tool_choice": st.sampled_from(choices),
                "parallel_tool_calls": st.booleans(),
                "max_tokens": st.sampled_from([1, 1024, 10**9]),
                "stop": st.sampled_from(["END", "\n", "", ["a", " ", ""]]),
                "temperature": st.sampled_from([0, 0.5, 1, 2]),
                "top_p": st.sampled_from([0.5, 1]),
                "reasoning_effort": st.sampled_from(["none", "low", "high", "max"]),
                "response_format": st.sampled_from(
                    [
                        {"type": "text"},
                        {"type": "json_object"},
                        {"type": "json_schema", "json_schema": form},
                    ]
                ),
            },
        )
    )


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
)
@given(requests(), MODELS)
def test_the_provider_takes_whatever_is_made_of_a_request(
    body: dict[str, Any], model_id: str
) -> None:
    assert violations(sent(body, model_id), betas=BETAS) == []


def test_the_whole_of_a_body() -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    about = {"name": "read_file", "description": "Reads.", "parameters": schema}
    long = '{"path": "a", "n": 9007199254740991, "s": 1.5}'
    calls = [
        {"id": "call:1", "type": "function", "function": {"name": "read_file"}},
        {"id": "c2", "function": {"name": "read_file", "arguments": long}},
    ]
    body = {
        "model": "opus",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "read"}]},
            {"role": "assistant", "content": "I look.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c2", "content": ""},
            {"role": "tool", "tool_call_id": "call:1", "content": "x"},
            {"role": "user", "content": "go on"},
        ],
        "tools": [{"type": "function", "function": about}],
        "parallel_tool_calls": False,
        "max_completion_tokens": 100,
        "stop": ["END", "\n"],
    }
    call = decode_chat(json.dumps(body).encode())
    composition = composed(call.request)
    assert composition.body.system == "Be brief."
    assert composition.body.first_text == "read"
    text = {"type": "text"}
    use = {"type": "tool_use", "name": "read_file"}
    result = {"type": "tool_result"}
    marker = {"cache_control": {"type": "ephemeral"}}
    assert json.loads(composition.body.json) == {
        "messages": [
            {"role": "user", "content": [{**text, **marker, "text": "read"}]},
            {
                "role": "assistant",
                "content": [
                    {**text, "text": "I look."},
                    {**use, "id": "call_1", "input": {}},
                    {**use, "id": "c2", "input": json.loads(long)},
                ],
            },
            {
                "role": "user",
                "content": [
                    {**result, "tool_use_id": "c2", "content": ""},
                    {**result, "tool_use_id": "call_1", "content": "x"},
                    {
                        **text,
                        "text": "go on",
                        "cache_control": {"type": "ephemeral"},
                    },
                ],
            },
        ],
        "tools": [
            {"name": "read_file", "description": "Reads.", "input_schema": schema}
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "max_tokens": 100,
        "stop_sequences": ["END"],
    }
    assert call.adjusted == (
        *("messages[2].tool_calls[0].function.arguments", "messages[2].tool_calls[0]"),
    )


def test_a_number_that_the_cli_prints_anew_is_named_by_the_clients_path() -> None:
    arguments = '{"big": 12345678901234567890}'
    call = {"id": "c", "type": "function", "function": {"name": "f"}}
    call["function"]["arguments"] = arguments  # type: ignore[index]  # a literal's
    body = {
        "messages": [
            {"role": "user", "content": "read"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        ]
    }
    composition = composed(decode_chat(json.dumps(body).encode()).request)
    path = "messages[1].tool_calls[0].function.arguments"
    assert path in composition.adjusted


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("messages.1.content.0.tool_use.id", "messages[1].tool_calls[0].id"),
        (
            "messages.1.content.0.tool_use.input.a",
            "messages[1].tool_calls[0].function.arguments.a",
        ),
        (
            "messages.1.content.0.tool_use.name",
            "messages[1].tool_calls[0].function.name",
        ),
        ("messages.2.content.0", "messages[2]"),
        ("messages.2.content.1.text.text", "messages[3].content[0].text"),
        ("tools.0.custom.input_schema", "tools[0].function.parameters"),
        ("max_tokens", "max_completion_tokens"),
    ],
)
def test_the_providers_paths_are_the_clients(path: str, param: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f"}}
    parts = [{"type": "text", "text": "and?"}]
    body = {
        "messages": [
            {"role": "user", "content": "read"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
            {"role": "user", "content": parts},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "max_completion_tokens": 5,
    }
    request = decode_chat(json.dumps(body).encode()).request
    assert composed(request).body.client_path(path) == param


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_nothing_blank_can_be_asked(role: str) -> None:
    body = {"messages": [{"role": role, "content": " \n"}]}
    with pytest.raises(ClientError):
        decode_chat(json.dumps(body).encode())
