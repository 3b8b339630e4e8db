"""Every kind of tool of the Responses API: definitions, calls, results."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.responses.input.assembly import context_of
from ccproxy.api.responses.input.request import (
    DecodedResponsesRequest,
    decode_responses,
)
from ccproxy.api.responses.lifecycle.stored import documents
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.blocks import SearchCopy, is_blank
from ccproxy.core.errors import ClientError
from ccproxy.core.messages import Message, ToolChoice, WebSearch
from ccproxy.core.stream import (
    Event,
    Finished,
    InputJSONDelta,
    MessageStart,
    TextDelta,
    Usage,
)
from tests.support.events import call_start
from tests.support.spec import (
    conversation_items_errors,
    item_list_errors,
    response_errors,
    response_event_errors,
)
from tests.unit.api.responses.samples import asked, parse, plain, request, whole

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Patches files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "a"+'},
}
SPACE = {
    "type": "namespace",
    "name": "mcp__notes",
    "description": "The user's notes.",
    "tools": [
        {**FUNCTION, "description": "Finds one.", "strict": False},
        {"type": "custom", "name": "write"},
    ],
}
LOCAL_SHELL = {"type": "local_shell"}
SHELL = {"type": "shell", "environment": {"type": "local"}}
TOOLS = [FUNCTION, PATCH, SPACE, LOCAL_SHELL, SHELL]


def decoded(**fields: Any) -> DecodedResponsesRequest:
    return decode_responses(request(**{"tools": TOOLS, **fields}))


def test_each_tool_has_one_name_for_the_model() -> None:
    offered = decoded().request.tools
    tools = {tool.value.name: tool.value for tool in offered}
    assert list(tools) == [
        "look",
        "apply_patch",
        "mcp__notes__look",
        "mcp__notes__write",
        "local_shell",
        "shell",
    ]
    assert tools["mcp__notes__look"].description == "The user's notes.\n\nFinds one."
    assert tools["mcp__notes__write"].description == "The user's notes."
    assert str(tools["apply_patch"].description).startswith("Patches files.")
    assert 'start: "a"+' in str(tools["apply_patch"].description)
    schemas = [json.loads(tool.raw)["input_schema"] for tool in offered[-2:]]
    assert [schema["required"] for schema in schemas] == [["command"], ["commands"]]


def test_what_codex_sends() -> None:
    """Client facts, "codex"."""
    body = {
        "model": "gpt-5-codex",
        "instructions": None,
        "input": [
            {
                "type": "message",
                "id": "msg_1",
                "role": "developer",
                "content": [{"type": "input_text", "text": "You are Codex."}],
            },
            {
                "type": "message",
                "id": "msg_2",
                "role": "user",
                "content": [{"type": "input_text", "text": "hello"}],
            },
        ],
        "tools": [
            {**FUNCTION, "description": "Looks.", "strict": False},
            {**SPACE, "defer_loading": False},
            {"type": "web_search", "external_web_access": False},
            {**PATCH, "allowed_callers": None},
            LOCAL_SHELL,
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "client_metadata": {"session": "s"},
    }
    call = decode_responses(json.dumps(body).encode())
    assert len(call.request.tools) == 5
    assert call.request.tool_choice == ToolChoice(
        "auto", disable_parallel_tool_use=True
    )
    # Codex works without them.
    assert call.ignored == ("prompt_cache_key", "client_metadata")
    [wish] = call.request.web_searches
    live = ("tools[2].external_web_access",)
    assert wish == WebSearch(at="tools[2]", unsent=live)
    assert asked(json.dumps(body).encode()).system == "You are Codex."


@pytest.mark.parametrize("fields", [{}, {"execution": "client", "parameters": {}}])
def test_search_for_more_tools_is_left_out_and_told(fields: dict[str, Any]) -> None:
    """As Codex sends it for the models that it knows."""
    deferred = {**FUNCTION, "defer_loading": True}
    tools = [deferred, {"type": "tool_search", **fields}]
    call = decode_responses(json.dumps({"input": "hello", "tools": tools}).encode())
    # A function that is to be found is offered at once.
    assert [tool.value.name for tool in call.request.tools] == [FUNCTION["name"]]
    assert call.ignored == ("tools[0].defer_loading", "tools[1]")


def test_tools_of_an_item_come_after_the_tools_of_the_request() -> None:
    one, two, three = ({**FUNCTION, "name": name} for name in "abc")
    items = [
        {"type": "message", "role": "user", "content": "Hi"},
        {"type": "additional_tools", "role": "developer", "tools": [two, three]},
        # A client that sends the whole conversation may have a definition twice.
        {"type": "additional_tools", "role": "developer", "tools": [one, two]},
    ]
    found = decoded(tools=[one], input=items)
    assert [tool.value.name for tool in found.request.tools] == ["a", "b", "c"]
    assert found.ignored == ()
    [repeated] = json.loads(b"{%b}" % found.echo.json)["tools"]
    assert repeated["name"] == "a"


@pytest.mark.parametrize(
    ("added", "param"),
    [
        ({}, "input[0].tools"),
        ({"tools": [{"type": "function"}]}, "input[0].tools[0].name"),
        ({"tools": [{"type": "file_search"}]}, "input[0].tools[0].type"),
    ],
)
def test_fault_in_tools_of_an_item_has_its_path(
    added: dict[str, Any], param: str
) -> None:
    with pytest.raises(ClientError) as caught:
        decoded(input=[{"type": "additional_tools", "role": "developer", **added}])
    assert caught.value.param == param


def test_name_that_is_too_long_with_its_namespace_is_shortened() -> None:
    """And comes back whole."""
    space = {"type": "namespace", "name": "n" * 127, "tools": [FUNCTION]}
    call = decoded(tools=[space])
    [tool] = call.request.tools
    assert len(tool.value.name) <= 128
    identity = call.tools.identity(tool.value.name)
    assert (identity.namespace, identity.name) == ("n" * 127, "look")


BAD_TOOLS: list[tuple[dict[str, Any], str]] = [
    ({"type": "namespace", "tools": []}, "tools[0].name"),
    (
        {"type": "namespace", "name": "n", "tools": [LOCAL_SHELL]},
        "tools[0].tools[0].type",
    ),
    ({"type": "namespace", "name": "n", "tools": [3]}, "tools[0].tools[0]"),
    (
        {"type": "namespace", "name": "n", "tools": [FUNCTION] * 2},
        "tools[0].tools[1]",
    ),
    ({"type": "custom"}, "tools[0].name"),
    ({**PATCH, "format": {"type": "grammar"}}, "tools[0].format.syntax"),
    ({**PATCH, "format": {"type": "xml"}}, "tools[0].format.type"),
    (
        {"type": "shell", "environment": {"type": "container_auto"}},
        "tools[0].environment.type",
    ),
    ({"type": "mcp", "server_label": "a"}, "tools[0].type"),
    ({"type": "code_interpreter"}, "tools[0].type"),
    ({}, "tools[0].type"),
]


@pytest.mark.parametrize(("tool", "param"), BAD_TOOLS)
def test_tool_that_cannot_be_offered(tool: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decoded(tools=[tool])
    assert caught.value.param == param


CHOICES: list[tuple[object, object, list[str], bool]] = [
    ("none", "none", [], False),
    ("required", "required", ["look", "apply_patch"], True),
    (
        {"type": "function", "name": "look"},
        {"type": "function", "name": "look"},
        ["look"],
        True,
    ),
    (
        {"type": "custom", "custom": {"name": "apply_patch"}},
        {"type": "custom", "name": "apply_patch"},
        ["apply_patch"],
        True,
    ),
    (
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}]},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}]},
        ["shell"],
        False,
    ),
    (
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "write"}],
        },
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "write"}],
        },
        ["mcp__notes__write"],
        True,
    ),
]


@pytest.mark.parametrize(("choice", "echo", "names", "must_call"), CHOICES)
def test_choice_narrows_and_demands(
    choice: object, echo: object, names: list[str], must_call: bool
) -> None:
    call = decoded(tool_choice=choice)
    found = [tool.value.name for tool in call.request.tools]
    chosen = call.request.tool_choice
    if chosen is not None and chosen.type == "tool":
        assert [chosen.name] == names
        assert chosen.name in found
    else:
        assert found[: len(names)] == names
    assert (chosen is not None and chosen.must_call) is must_call
    # A choice of none keeps the tools, for the prompt cache.
    assert (chosen is not None and chosen.type == "none") is (choice == "none")
    assert json.loads(b"{%b}" % call.echo.json)["tool_choice"] == echo
    response = ResponseStream("abc", call.echo, lambda: 1.0).response
    assert response_errors(json.loads(response.encode())) == []


# Answers


def answered(
    calls: Sequence[tuple[str, Sequence[str]]],
    reason: str = "tool_use",
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The events and the output of a response that makes calls; all valid."""
    call = decoded()
    encoder = ResponseStream("abc", call.echo, lambda: 1.0, None, call.tools)
    events: list[Event] = [MessageStart("m-1")]
    for number, (name, pieces) in enumerate(calls):
        events.append(call_start(f"toolu_{number}", name))
        events += map(InputJSONDelta, pieces)
    parsed = parse(whole(encoder, *events, Finished(reason, Usage())))
    errors = [error for event in parsed for error in response_event_errors(event)]
    assert errors == []
    document = parsed[-1]["response"]
    assert response_errors(document) == []
    added = [e["item"] for e in parsed if e["type"] == "response.output_item.added"]
    done = [e["item"] for e in parsed if e["type"] == "response.output_item.done"]
    assert document["output"] == done
    assert [item["id"] for item in added] == [item["id"] for item in done]
    assert len({item["id"] for item in done}) == len(calls)
    return parsed, done


def pieces_of(parsed: list[dict[str, Any]], kind: str) -> list[str]:
    return [event["delta"] for event in parsed if event["type"] == f"{kind}.delta"]


def test_custom_call_is_streamed_as_text() -> None:
    pieces = ('{"inp', 'ut": "*** Begin\\', "n+a", '"}')
    parsed, [item] = answered([("apply_patch", pieces)])
    kind = "response.custom_tool_call_input"
    assert pieces_of(parsed, kind) == ["*** Begin", "\n+a"]
    [done] = [event for event in parsed if event["type"] == f"{kind}.done"]
    assert done["input"] == "*** Begin\n+a"
    assert item == {
        "type": "custom_tool_call",
        "id": item["id"],
        "call_id": "toolu_0",
        "name": "apply_patch",
        "input": "*** Begin\n+a",
        "status": "completed",
    }


def test_call_in_a_namespace_comes_back_with_it() -> None:
    calls = [("mcp__notes__look", ('{"a": 1}',)), ("mcp__notes__write", ())]
    _, items = answered(calls)
    assert [(i["type"], i["namespace"], i["name"]) for i in items] == [
        ("function_call", "mcp__notes", "look"),
        ("custom_tool_call", "mcp__notes", "write"),
    ]
    assert items[0]["arguments"] == '{"a": 1}'
    assert items[1]["input"] == ""


def test_shell_calls_are_actions() -> None:
    local = '{"command": ["ls", "-l"], "timeout_ms": 5}'
    _, items = answered([("local_shell", (local,)), ("shell", ('{"commands":["a"]}',))])
    assert items[0]["action"] == {
        "type": "exec",
        "command": ["ls", "-l"],
        "timeout_ms": 5,
        "env": {},
    }
    assert items[1]["action"] == {
        "commands": ["a"],
        "timeout_ms": None,
        "max_output_length": None,
    }
    assert [item["status"] for item in items] == ["completed", "completed"]


@pytest.mark.parametrize(
    "arguments", ['{"command": ["rm"', '{"command": "ls"}', "", "{}"]
)
def test_shell_call_that_says_nothing_is_incomplete(arguments: str) -> None:
    """A client must not run what the model did not say."""
    _, [item] = answered([("local_shell", (arguments,))])
    assert (item["status"], item["action"]["command"]) == ("incomplete", [])


NAMES = ("look", "apply_patch", "mcp__notes__look", "local_shell", "shell", "unknown")
ARGUMENTS = st.lists(
    st.sampled_from(["{", "}", '"input"', ":", '"a"', "\\u00", "x", '{"commands":[]}'])
)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), ARGUMENTS), max_size=4),
    st.sampled_from(["end_turn", "max_tokens", "refusal", "tool_use"]),
)
def test_any_calls_are_valid(calls: list[tuple[str, list[str]]], reason: str) -> None:
    answered(calls, reason)


# Histories


def messages_of(*items: Mapping[str, Any]) -> tuple[Message, ...]:
    user = {"role": "user", "content": "hello"}
    return asked(request(input=[user, *items], tools=TOOLS)).messages


def test_calls_of_all_kinds_come_back_as_they_were_told() -> None:
    """What a client is given is what it sends, and what the model said."""
    said: list[tuple[str, dict[str, Any]]] = [
        ("look", {"a": 1}),
        ("apply_patch", {"input": "a\nb"}),
        ("mcp__notes__look", {}),
        ("mcp__notes__write", {"input": "c"}),
        ("local_shell", {"command": ["ls"], "env": {}}),
        ("shell", {"commands": ["ls"]}),
    ]
    _, items = answered([(name, [json.dumps(given)]) for name, given in said])
    outputs: list[dict[str, Any]] = [
        {"type": "function_call_output", "call_id": "toolu_0", "output": "zero"},
        {
            "type": "custom_tool_call_output",
            "call_id": "toolu_1",
            "output": [{"type": "input_text", "text": "one"}],
        },
        {"type": "function_call_output", "call_id": "toolu_2", "output": "two"},
        {"type": "custom_tool_call_output", "call_id": "toolu_3", "output": "three"},
        {"type": "local_shell_call_output", "id": "toolu_4", "output": "four"},
        {
            "type": "shell_call_output",
            "call_id": "toolu_5",
            "output": [
                {
                    "stdout": "five",
                    "stderr": "",
                    "outcome": {"type": "exit", "exit_code": 0},
                }
            ],
        },
    ]
    _, (_, calls), (_, results) = plain(messages_of(*items, *outputs))
    assert calls == [
        {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": given}
        for n, (name, given) in enumerate(said)
    ]
    assert [b["tool_use_id"] for b in results] == [f"toolu_{n}" for n in range(6)]
    found = [block["content"] for block in results]
    one = [{"type": "text", "text": "one"}]
    assert found[:5] == ["zero", one, "two", "three", "four"]
    assert json.loads(found[5])[0]["stdout"] == "five"
    # As the store keeps them they are valid, and mean the same.
    user = {"role": "user", "content": "hello"}
    call = decode_responses(request(input=[user, *items, *outputs]))
    kept = documents(context_of(call, (), {}).own, "abc").pairs
    listed = [json.loads(document) for _, document in kept]
    page = {
        "object": "list",
        "data": listed,
        "first_id": kept[0][0],
        "last_id": kept[-1][0],
        "has_more": False,
    }
    assert item_list_errors(page) == []
    assert conversation_items_errors(page) == []
    again = messages_of(*listed[1:])
    assert plain(again) == plain(messages_of(*items, *outputs))


def test_a_search_is_left_for_what_the_proxy_remembers() -> None:
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "a"},
    }
    _, message = messages_of(search)
    assert [type(block.value) for block in message.blocks] == [SearchCopy]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "custom_tool_call", "call_id": "c"}, "input[1].name"),
        ({"type": "shell_call", "call_id": "c"}, "input[1].action"),
        ({"type": "shell_call_output", "call_id": "c"}, "input[1].output"),
        (
            {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": 1}]},
            "input[1].output[0].stdout",
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": [3]},
            "input[1].output[0]",
        ),
    ],
)
def test_item_that_means_nothing(item: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        messages_of(item)
    assert caught.value.param == param


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["function_call", "custom_tool_call"]),
            st.none() | st.just("mcp__notes"),
            st.text(max_size=5),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_history_of_calls_is_the_same_there_and_back(
    history: list[tuple[str, str | None, str]],
) -> None:
    items: list[dict[str, Any]] = []
    for number, (kind, namespace, text) in enumerate(history):
        about: dict[str, Any] = {"type": kind, "call_id": f"c{number}", "name": "look"}
        if namespace:
            about["namespace"] = namespace
        if kind == "function_call":
            about["arguments"] = json.dumps({"t": text})
        else:
            about["input"] = text
        output = {"type": f"{kind}_output", "call_id": f"c{number}", "output": text}
        items += [about, output]
    found = plain(messages_of(*items))[1:]
    assert [role for role, _ in found] == ["assistant", "user"] * len(history)
    for number, (kind, namespace, text) in enumerate(history):
        [use], [result] = (blocks for _, blocks in found[2 * number : 2 * number + 2])
        name = "mcp__notes__look" if namespace else "look"
        key = "t" if kind == "function_call" else "input"
        about = {"type": "tool_use", "id": f"c{number}", "name": name}
        assert use == {**about, "input": {key: text}}
        told = "" if is_blank(text) else text
        about = {"type": "tool_result", "tool_use_id": f"c{number}"}
        assert result == {**about, "content": told}


# Structured output

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            {"type": "json_schema", "schema": SCHEMA},
        ),
        (
            {"type": "json_schema", "name": "n", "schema": SCHEMA},
            {"type": "json_schema", "schema": SCHEMA},
        ),
    ],
)
def test_format_is_the_apis(form: dict[str, Any], told: object) -> None:
    call = decode_responses(request(text={"format": form}))
    config = call.request.output_config
    assert (config and json.loads(config.raw)["format"]) == told
    encoder = ResponseStream("abc", call.echo, lambda: 1.0)
    ends: list[Event] = [TextDelta("{}"), Finished("end_turn", Usage())]
    response = parse(whole(encoder, MessageStart("m-1"), *ends))[-1]["response"]
    assert response_errors(response) == []
    assert form.items() <= response["text"]["format"].items()
