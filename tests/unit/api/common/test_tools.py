"""The client's tools: definitions, calls, results and their ids are checked."""

import json
from random import Random
from re import fullmatch
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.chat.request import DecodedChatRequest, decode_chat
from ccproxy.api.chat.response import ChatDocument, CompletionMeta
from ccproxy.api.chat.stream import ChatStream
from ccproxy.api.common.restart_filter import RestartFilter
from ccproxy.api.common.tools import ToolIdentity, ToolKind, ToolTable
from ccproxy.core.encoding import sse_frames
from ccproxy.core.errors import ClientError
from ccproxy.core.messages import ToolChoice
from ccproxy.core.stream import Event, Failed, Finished, MessageStart, Restarted
from tests.support.events import call_start, in_blocks
from tests.support.requests import told_messages, told_tools

USER = {"role": "user", "content": "hello"}
STARTED = MessageStart("m")


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look", **fields}}


def call(identifier: str, **fields: Any) -> dict[str, Any]:
    about = {"name": "look", "arguments": "{}", **fields}
    return {"id": identifier, "type": "function", "function": about}


def call_of(identifier: str, name: str) -> dict[str, Any]:
    return call(identifier, name=name)


def assistant(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": list(calls)}


def result(identifier: str, content: object = "seen") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def decoded(*messages: dict[str, Any], **fields: Any) -> DecodedChatRequest:
    body = json.dumps({"messages": list(messages), **fields}).encode()
    return decode_chat(body)


def tools_of(**fields: Any) -> list[dict[str, Any]]:
    return told_tools(decoded(USER, **fields).request.tools)


# Offers


def test_schema_is_kept_word_for_word() -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}, "x-own": [1.5, None]}
    [tool] = decoded(
        USER, tools=[function(description=" d ", parameters=schema, strict=True)]
    ).request.tools
    told = {"name": "look", "description": " d ", "input_schema": schema}
    assert json.loads(tool.raw) == {**told, "strict": True}
    # Byte for byte: spaces, the order of keys, how numbers are written.
    assert json.dumps(schema).encode() in tool.raw
    assert tool.at == "tools[0].function"
    assert tool.renamed == {"input_schema": "parameters"}


def test_long_description_is_kept_whole() -> None:
    long = "x" * 100_000
    assert tools_of(tools=[function(description=long)])[0]["description"] == long


@pytest.mark.parametrize("fields", [{}, {"parameters": None}])
def test_no_parameters_are_an_empty_object(fields: dict[str, Any]) -> None:
    [tool] = tools_of(tools=[function(**fields)])
    assert tool == {
        "name": "look",
        "input_schema": {"type": "object", "properties": {}},
    }


def test_strict_is_left_out_if_it_asks_for_nothing() -> None:
    assert "strict" not in tools_of(tools=[function(strict=False)])[0]


BAD_TOOLS: list[tuple[list[Any], str]] = [
    ([function(name="")], "tools[0].function.name"),
    ([function(), function()], "tools[1]"),
    ([{"type": "function"}], "tools[0].function"),
    ([{"type": "file_search"}], "tools[0].type"),
    ([{}], "tools[0].function"),
    ([{"type": "custom"}], "tools[0].custom"),
    ([function(), {"type": "custom", "custom": {"name": "look"}}], "tools[1]"),
]


@pytest.mark.parametrize(("tools", "param"), BAD_TOOLS)
def test_tools_that_the_model_cannot_be_offered(tools: list[Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decoded(USER, tools=tools)
    assert caught.value.param == param


# Names


def test_names_that_the_api_does_not_take_are_replaced_there_and_back() -> None:
    """Dotted and long names, and what they would be taken for."""
    names = ["files.read", "files_read", "é" * 200, "a b", "ok-1"]
    call = decoded(
        *(USER, assistant(call_of("c", "files.read")), result("c")),
        tools=[function(name=name) for name in names],
        tool_choice=named("a b"),
    )
    offered = [tool.value.name for tool in call.request.tools]
    assert all(fullmatch("[a-zA-Z0-9_-]{1,128}", name) for name in offered)
    assert len(set(offered)) == len(names)
    assert (offered[1], offered[3], offered[4]) == ("files_read", "a_b", "ok-1")
    identities = map(call.call_format.tools.identity, offered)
    assert [identity.name for identity in identities] == names
    assert call.request.tool_choice == ToolChoice("tool", "a_b")
    _, (_, [use]), _ = told_messages(call.request.messages)
    assert use["name"] == offered[0]
    assert call.adjusted == (
        *("tools[0].function.name", "tools[2].function.name"),
        "tools[3].function.name",
    )


def test_call_of_a_replaced_name_is_told_by_the_clients() -> None:
    forms = decoded(USER, tools=[function(name="files.read")]).call_format
    document = ChatDocument(CompletionMeta(id="c", created=1), 1, forms)
    events: list[Event] = [STARTED, call_start("t", "files_read"), Finished("tool_use")]
    document.receivers[0]([*in_blocks(events)])
    [choice] = json.loads(document.encode())["choices"]
    function_of = choice["message"]["tool_calls"][0]["function"]
    assert function_of == {"name": "files.read", "arguments": "{}"}
    stream = ChatStream(CompletionMeta(id="c", created=1), 1, False, forms)
    assert b'"name":"files.read"' in sse_frames(stream.encoders[0](events))


@given(st.lists(st.text(max_size=6), max_size=6, unique=True), st.randoms())
def test_any_names_are_told_apart(names: list[str], random: Random) -> None:
    names = [name for name in names if name]
    tools = [(ToolIdentity(name), f"tools[{n}]") for n, name in enumerate(names)]
    table = ToolTable(tools)
    found = [table.api_name(identity) for identity, _ in tools]
    assert len(set(found)) == len(names)
    assert all(fullmatch("[a-zA-Z0-9_-]{1,128}", name) for name in found)
    assert [table.identity(name).name for name in found] == names
    # The order of tools says nothing of their names: so a history stays what it is.
    random.shuffle(tools)
    assert ToolTable(tools) == table


def test_names_of_namespaces() -> None:
    inner = ToolIdentity("read", ToolKind.FUNCTION, "files")
    clash = ToolIdentity("files__read")
    table = ToolTable([(inner, "tools[0].tools[0]"), (clash, "tools[1]")])
    assert table.api_name(clash) != table.api_name(inner)
    assert table.identity(table.api_name(inner)) == inner
    assert table.api_names("read") == (table.api_name(inner),)
    assert table.api_names("files__read") == ("files__read",)
    assert table.api_names("no") == ()


# The choice


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    about = {"mode": mode, "tools": [named(name) for name in names]}
    return {"type": "allowed_tools", "allowed_tools": about}


BOTH = ["look", "ask"]
CHOICES: list[tuple[object, list[str], ToolChoice | None]] = [
    (None, BOTH, None),
    ("auto", BOTH, None),
    # The prompt cache would be lost with the tools.
    ("none", BOTH, ToolChoice("none")),
    ("required", BOTH, ToolChoice("any")),
    (named("ask"), BOTH, ToolChoice("tool", "ask")),
    (allowed("auto", "ask"), ["ask"], None),
    (allowed("required", "ask", "look"), BOTH, ToolChoice("any")),
]


@pytest.mark.parametrize(("choice", "names", "told"), CHOICES)
def test_choice_narrows_and_demands(
    choice: object, names: list[str], told: ToolChoice | None
) -> None:
    tools = [function(), function(name="ask")]
    request = decoded(USER, tools=tools, tool_choice=choice).request
    assert [tool.value.name for tool in request.tools] == names
    assert request.tool_choice == told


@pytest.mark.parametrize(
    "choice",
    [
        *({"type": "function"}, {"type": "file_search"}, {"type": "allowed_tools"}),
        *(3, "all", [], named("no")),
        *(allowed("auto", "no"), allowed("often", "look")),
    ],
)
def test_choice_that_is_none(choice: object) -> None:
    with pytest.raises(ClientError) as caught:
        decoded(USER, tools=[function()], tool_choice=choice)
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("tools", [None, [], [{"type": "web_search"}]])
def test_no_call_can_be_demanded_of_nothing(tools: object) -> None:
    with pytest.raises(ClientError, match="`tools` has no tool to call"):
        decoded(USER, tools=tools, tool_choice="required")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", ToolChoice("auto", disable_parallel_tool_use=True)),
        ("required", ToolChoice("any", disable_parallel_tool_use=True)),
        (
            named("look"),
            ToolChoice("tool", "look", disable_parallel_tool_use=True),
        ),
        # There is no call at all then.
        ("none", ToolChoice("none")),
    ],
)
def test_one_call_at_a_time(choice: object, told: ToolChoice) -> None:
    fields: Any = {"tool_choice": choice, "parallel_tool_calls": False}
    call = decoded(USER, tools=[function()], **fields)
    assert call.request.tool_choice == told
    assert (call.ignored, call.adjusted) == ((), ())
    assert decoded(USER, parallel_tool_calls=False).request.tool_choice is None


def test_a_search_of_the_web_is_left_to_the_backend() -> None:
    body = json.dumps(
        {
            "messages": [USER],
            "tools": [function(), {"type": "web_search_preview"}],
            "web_search_options": {},
        }
    ).encode()
    call = decode_chat(body)
    assert [tool.value.name for tool in call.request.tools] == ["look"]
    assert call.ignored == ()
    wishes = [wish.at for wish in call.request.web_searches]
    assert wishes == ["web_search_options", "tools[1]"]


# Calls and results


def test_paths_of_calls_and_results_are_the_clients() -> None:
    messages = decoded(USER, assistant(call("c")), result("c"), USER).request.messages
    assert [(m.at, [b.at for b in m.blocks]) for m in messages] == [
        ("messages[0]", ["messages[0].content"]),
        ("messages[1]", ["messages[1].tool_calls[0]"]),
        ("messages[2]", ["messages[2]", "messages[3].content"]),
    ]


LOOKED = "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("arguments", "told", "is_mended"),
    [
        ('{"path": "a"}', '{"path": "a"}', False),
        ("{}", "{}", False),
        # As they came, to the last byte.
        (
            ' {"n": 12345678901234567890,  "s": 1.0, "z": -0.0, "e": 1e400} ',
            '{"n": 12345678901234567890,  "s": 1.0, "z": -0.0, "e": 1e400}',
            False,
        ),
        # An object too, such as Ollama's clients send it.
        ({"path": 1.0}, '{"path": 1.0}', False),
        ("", "{}", True),
        ("null", "{}", True),
        (None, "{}", True),
        (json.dumps('{"path": "a"}'), '{"path": "a"}', True),
        ('{"path": "a.t', r'{"arguments":"{\"path\": \"a.t"}', True),
        ("[1]", '{"arguments":"[1]"}', True),
        ("7", '{"arguments":"7"}', True),
        ('"word"', r'{"arguments":"\"word\""}', True),
        ("just words", '{"arguments":"just words"}', True),
        (r'{"path": "\ud83d"}', r'{"path": "\ufffd"}', True),
        ("[" * 5000, json.dumps({"arguments": "[" * 5000}).replace(" ", ""), True),
    ],
)
def test_arguments_are_an_object_whatever_they_were(
    arguments: object, told: str, is_mended: bool
) -> None:
    found = decoded(USER, assistant(call("c", arguments=arguments)), result("c"))
    [block] = found.request.messages[1].blocks
    assert bytes(block.fields["input"]).decode() == told
    assert found.adjusted == ((LOOKED,) if is_mended else ())


def test_calls_and_results_without_ids() -> None:
    about = call("x")
    nameless = {**about, "id": None}
    told = decoded(USER, assistant(nameless), {**result("x"), "tool_call_id": None})
    _, (_, [use]), (_, [answer]) = told_messages(told.request.messages)
    assert use["id"] == answer["tool_use_id"] == "call"
    assert told.adjusted == ("messages[1].tool_calls[0]",)


def test_a_blank_result_is_an_empty_one() -> None:
    parts = [{"type": "text", "text": " "}, {"type": "text", "text": ""}]
    for content, named_paths in (
        ("", ()),
        (None, ()),
        ([], ()),
        (" \n", ("messages[2].content",)),
        (parts, ("messages[2].content[0]", "messages[2].content[1]")),
    ):
        found = decoded(USER, assistant(call("c")), result("c", content))
        [block] = told_messages(found.request.messages)[-1][1]
        assert block["content"] == ""
        assert found.ignored == named_paths


BAD_HISTORIES: list[tuple[list[dict[str, Any]], str]] = [
    ([USER, assistant(call("c")), USER], "'c' has no result"),
    ([USER, assistant(call("c"), call("d")), result("c")], "'d' has no result"),
    ([USER, result("c")], "'c' has no call"),
    ([USER, assistant(call("c")), result("d")], "'c' has no result"),
    (
        [USER, assistant(call("c")), result("c"), assistant(), result("c")],
        "'c' is one too many",
    ),
    ([USER, assistant(call("c"), call("c")), result("c")], "'c' has no result"),
    ([USER, assistant(call("c"))], "'c' has no result"),
    ([USER, {"role": "tool", "content": "x"}], "without an id has no call"),
    ([USER, {"role": "function", "name": "f", "content": "x"}], "no `function_call`"),
    (
        [
            USER,
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            USER,
        ],
        "has no result",
    ),
    (
        [USER, {"role": "assistant", "tool_calls": [{"id": "c", "type": "function"}]}],
        "function` is missing",
    ),
]


@pytest.mark.parametrize(("messages", "words"), BAD_HISTORIES)
def test_history_that_does_not_add_up(
    messages: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        decoded(*messages)


rounds = st.lists(
    st.lists(st.text("ab_:", max_size=3), min_size=1, max_size=3, unique=True),
    max_size=6,
)


@given(rounds, st.data())
def test_any_loop_of_calls_and_results_adds_up(
    given_rounds: list[list[str]], data: st.DataObject
) -> None:
    messages: list[dict[str, Any]] = [USER]
    for ids in given_rounds:
        messages.append(
            assistant(*(call(i, arguments=json.dumps({"i": i})) for i in ids))
        )
        messages += [result(i, f"for {i}") for i in data.draw(st.permutations(ids))]
    told = told_messages(decoded(*messages).request.messages)
    seen: set[str] = set()
    for (asker, uses), (answerer, results) in zip(told[1::2], told[2::2], strict=True):
        assert (asker, answerer) == ("assistant", "user")
        calls = {use["id"]: use["input"]["i"] for use in uses}
        answers = {answer["tool_use_id"]: answer["content"] for answer in results}
        assert {k: f"for {v}" for k, v in calls.items()} == answers
        assert not seen & set(calls)
        seen |= set(calls)
    assert len(seen) == sum(map(len, given_rounds))


# Answers


def test_call_that_was_told_cannot_be_taken_back() -> None:
    events: list[Event] = [STARTED, call_start("t1", "look"), Restarted(), STARTED]
    told = RestartFilter().filter(events)
    assert isinstance(told[-1], Failed)


@pytest.mark.parametrize("reason", ["max_tokens", "refusal"])
def test_arguments_that_were_cut_off_are_not_made_up(reason: str) -> None:
    """A client would take `{}` for a call, and run it."""
    events: list[Event] = [STARTED, call_start("t1", "look"), Finished(reason)]
    meta = CompletionMeta(id="c", created=1)
    assert b'{}"' not in sse_frames(ChatStream(meta, 1, False).encoders[0](events))
    document = ChatDocument(meta, 1)
    document.receivers[0]([*in_blocks(events)])
    [choice] = json.loads(document.encode())["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == ""
