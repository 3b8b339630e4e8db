"""The client's tools, checked: offers, calls, results and their ids."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.native.tools import ToolServer, check_offered, offer
from ccproxy.claude.native.turn import Turn
from ccproxy.claude.protocol.codec import decode
from ccproxy.claude.protocol.records import ControlAsk, ControlRequest, MCPMessage
from ccproxy.conversation import Role, Tool, ToolResultBlock, ToolUseBlock
from ccproxy.dialects.chat_answer import ChatDocument, ChatStream, Heading
from ccproxy.dialects.chat_request import decode_chat
from ccproxy.dialects.replay import Replay
from ccproxy.dialects.responses_answer import ResponseStream
from ccproxy.dialects.responses_request import decode_responses
from ccproxy.errors import CCProxyError, ClaudeFailed, ClientError, InvalidRequest
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStarted,
    Restarted,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)

USER = {"role": "user", "content": "hello"}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look", **fields}}


def call(identifier: str, **fields: Any) -> dict[str, Any]:
    about = {"name": "look", "arguments": "{}", **fields}
    return {"id": identifier, "type": "function", "function": about}


def assistant(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": list(calls)}


def result(identifier: str, content: object = "seen") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def prompt_of(*messages: dict[str, Any], **fields: Any) -> Any:
    body = json.dumps({"messages": list(messages), **fields}).encode()
    return decode_chat(body).prompt


# Offers


def test_schema_is_kept_word_for_word() -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}, "x-own": [1.5, None]}
    [tool] = prompt_of(
        USER, tools=[function(description=" d ", parameters=schema)]
    ).tools
    assert tool == Tool("look", " d ", schema)
    assert list(tool.input_schema["properties"]) == ["b", "a"]


@pytest.mark.parametrize("fields", [{}, {"parameters": None}, {"parameters": {}}])
def test_no_parameters_are_an_empty_object(fields: dict[str, Any]) -> None:
    [tool] = prompt_of(USER, tools=[function(**fields)]).tools
    assert tool.input_schema == {"type": "object", "properties": {}}


def test_no_choice_is_no_tools() -> None:
    assert prompt_of(USER, tools=[function()], tool_choice="none").tools == ()
    assert len(prompt_of(USER, tools=[function()], tool_choice="auto").tools) == 1


BAD_TOOLS: list[tuple[list[Any], str]] = [
    ([function(name="")], "tools[0].function.name"),
    ([function(name="a b")], "tools[0].function.name"),
    ([function(name="x" * 129)], "tools[0].function.name"),
    ([function(parameters={"type": "array"})], "tools[0].function.parameters"),
    ([function(parameters=[])], "tools[0].function.parameters"),
    ([function(), function()], "tools[1]"),
    ([{"type": "function"}], "tools[0].function"),
    ([{"type": "file_search"}], "tools[0].type"),
    ([{}], "tools[0].type"),
]


@pytest.mark.parametrize(("tools", "param"), BAD_TOOLS)
def test_tools_that_the_model_cannot_be_offered(tools: list[Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        prompt_of(USER, tools=tools)
    assert caught.value.param == param


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    about = {"mode": mode, "tools": [named(name) for name in names]}
    return {"type": "allowed_tools", "allowed_tools": about}


CHOICES: list[tuple[object, list[str], bool]] = [
    (None, ["look", "ask"], False),
    ("auto", ["look", "ask"], False),
    ("none", [], False),
    ("required", ["look", "ask"], True),
    (named("ask"), ["ask"], True),
    (allowed("auto", "ask"), ["ask"], False),
    (allowed("required", "ask", "look"), ["look", "ask"], True),
]


@pytest.mark.parametrize(("choice", "names", "must_call"), CHOICES)
def test_choice_narrows_and_demands(
    choice: object, names: list[str], must_call: bool
) -> None:
    tools = [function(), function(name="ask")]
    prompt = prompt_of(USER, tools=tools, tool_choice=choice)
    assert [tool.name for tool in prompt.tools] == names
    assert prompt.must_call is must_call


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
        prompt_of(USER, tools=[function()], tool_choice=choice)
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("tools", [None, [], [{"type": "web_search"}]])
def test_no_call_can_be_demanded_of_nothing(tools: object) -> None:
    with pytest.raises(ClientError, match="nothing in `tools`"):
        prompt_of(USER, tools=tools, tool_choice="required")


def test_one_call_at_a_time() -> None:
    fields: Any = {"tools": [function()], "parallel_tool_calls": False}
    assert not prompt_of(USER, **fields).parallel_calls
    assert (
        decode_chat(json.dumps({"messages": [USER], **fields}).encode()).ignored == ()
    )


def test_web_search_is_the_operators() -> None:
    body = json.dumps(
        {
            "messages": [USER],
            "tools": [function(), {"type": "web_search_preview"}],
            "web_search_options": {},
        }
    ).encode()
    call = decode_chat(body)
    assert [tool.name for tool in call.prompt.tools] == ["look"]
    assert call.ignored == ("web_search_options", "tools[1]")
    assert decode_chat(body, web_search=True).ignored == ()


# Calls and results


def test_results_stand_in_front_of_what_is_said_beside_them() -> None:
    messages = prompt_of(
        USER, assistant(call("c")), USER, result("c", ""), USER
    ).messages
    assert isinstance(messages[-1].content[0], ToolResultBlock)
    assert len(messages[-1].content) == 3


BAD_HISTORIES: list[tuple[list[dict[str, Any]], str]] = [
    ([USER, assistant(call("c")), USER], "'c' has no result"),
    ([USER, assistant(call("c"), call("d")), result("c")], "'d' has no result"),
    ([USER, result("c")], "'c' has no call"),
    ([USER, assistant(call("c")), result("d")], "'c' has no result"),
    (
        [USER, assistant(call("c")), result("c"), assistant(), result("c")],
        "same id",
    ),
    ([USER, assistant(call("c"), call("c")), result("c")], "same id"),
    ([USER, assistant(call("c", arguments="[1]")), result("c")], "JSON object"),
    ([USER, assistant(call("c", arguments="{")), result("c")], "JSON object"),
    ([USER, assistant(call("c"))], "ends with the assistant"),
    ([USER, {"role": "tool", "content": "x"}], "tool_call_id"),
    ([USER, {"role": "function", "name": "f", "content": "x"}], "no `function_call`"),
    (
        [USER, {"role": "assistant", "function_call": {"name": "f"}}, USER],
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
        prompt_of(*messages)


def test_ids_that_are_used_again_are_told_apart() -> None:
    messages = prompt_of(
        USER,
        assistant(call("c"), call("c_2")),
        result("c_2"),
        result("c"),
        assistant(call("c")),
        result("c"),
        assistant(call("call:1/2"), call("")),
        result(""),
        result("call:1/2"),
    ).messages
    ids = [
        block.id if isinstance(block, ToolUseBlock) else block.tool_use_id
        for message in messages
        for block in message.content
        if isinstance(block, ToolUseBlock | ToolResultBlock)
    ]
    assert ids == [
        # c_2 after c would be taken for another name of c.
        *("c", "c_2-2", "c", "c_2-2"),
        *("c-2", "c-2"),
        *("call_1_2", "call", "call_1_2", "call"),
    ]


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
    prompt = prompt_of(*messages)
    seen: set[str] = set()
    for before, after in zip(prompt.messages[1::2], prompt.messages[2::2], strict=True):
        assert (before.role, after.role) == (Role.ASSISTANT, Role.USER)
        calls = {b.id: b.input["i"] for b in before.content}
        results = {b.tool_use_id: b.content for b in after.content}
        assert {k: f"for {v}" for k, v in calls.items()} == results
        assert not seen & set(calls)
        seen |= set(calls)
    assert len(seen) == sum(map(len, given_rounds))


# The CLI's side

TOOL = Tool("look", None, {"type": "object"})


def test_no_tools_are_no_server() -> None:
    assert offer(()) == {}


def test_older_cli_that_asks_again_is_answered() -> None:
    def ask(method: str, identifier: int | None = 7) -> Any:
        sent: list[Any] = []
        server = ToolServer(lambda request_id, answer: sent.append(answer))
        server.offer((TOOL,))
        message = MCPMessage(method, identifier)
        about = ControlAsk("mcp_message", "client", message)
        server.receive(ControlRequest("r1", about), message)
        return sent[0] if sent else None

    assert ask("tools/list")["result"]["tools"][0]["name"] == "look"
    assert ask("initialize")["result"]["capabilities"] == {"tools": {}}
    assert ask("initialize")["id"] == 7
    assert ask("notifications/initialized", None)["result"] == {}
    assert ask("tools/call") is None


def feed(turn: Turn, *records: dict[str, Any]) -> list[Event]:
    events: list[Event] = []
    for record in records:
        decoded = decode(json.dumps(record).encode())
        assert decoded is not None
        events += turn.receive(decoded)
    return events


def sse(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "stream_event", "event": {"type": kind, **fields}}


def begins(name: str) -> tuple[dict[str, Any], ...]:
    message = {"id": "m1", "model": "m", "content": []}
    block = {"type": "tool_use", "id": "t1", "name": name, "input": {}}
    delta = {"type": "input_json_delta", "partial_json": "{}"}
    return (
        sse("message_start", message=message),
        sse("content_block_start", index=0, content_block=block),
        sse("content_block_delta", index=0, delta=delta),
        sse("content_block_stop", index=0),
        sse("message_delta", delta={"stop_reason": "tool_use"}),
    )


def test_call_of_the_clients_tool_ends_the_turn() -> None:
    turn = Turn(0, frozenset({"look"}))
    events = feed(turn, *begins("look"))
    assert events[1:3] == [ToolCallStarted("t1", "look"), ToolCallDelta("{}")]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.TOOL_USE
    assert turn.waits
    assert not turn.goes_on


def test_call_of_the_clis_own_tool_does_not() -> None:
    turn = Turn(0, frozenset({"look"}))
    assert feed(turn, *begins("Read")) == [MessageStarted("m")]
    assert not turn.is_over


def test_call_in_a_whole_message() -> None:
    turn = Turn(0, frozenset({"look"}))
    block = {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}
    message = {"id": "m1", "model": "m", "content": [block], "stop_reason": "tool_use"}
    events = feed(turn, {"type": "assistant", "message": message})
    assert events[1:3] == [ToolCallStarted("t1", "look"), ToolCallDelta('{"a": 1}')]
    assert isinstance(events[-1], Finished)


def test_call_that_was_told_cannot_be_taken_back() -> None:
    start = MessageStarted("m")
    told = Replay().filter([start, ToolCallStarted("t1", "look"), Restarted(), start])
    assert isinstance(told[-1], Failed)


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.REFUSAL])
def test_arguments_that_were_cut_off_are_not_made_up(reason: FinishReason) -> None:
    """A client would take `{}` for a call, and run it."""
    events: list[Event] = [
        MessageStarted("m"),
        ToolCallStarted("t1", "look"),
        Finished(reason, Usage()),
    ]
    heading = Heading(id="c", created=1)
    assert b'{}"' not in ChatStream(heading, 1, False).encode(0, events)
    document = ChatDocument(heading, 1)
    document.receive(0, events)
    [choice] = json.loads(document.encode())["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == ""
    echo = decode_responses(b'{"input": "hello"}').echo
    stream = ResponseStream("a", echo, lambda: 1.0)
    stream.encode(0, events)
    [item] = stream.response["output"]
    assert (item["status"], item["arguments"]) == ("incomplete", "")


LOOK = Tool("look", None, {"type": "object"})
ODD = Tool("odd", None, {"type": "object", "required": ["a", "a"]})


@pytest.mark.parametrize(
    ("names", "tools", "about", "error"),
    [
        ({"look"}, [LOOK], {}, None),
        ({"look", "Read"}, [LOOK], {"has_own": True}, None),
        ({"look", "Read"}, [LOOK], {}, ClaudeFailed),
        ({"look", "Read"}, [LOOK], {"is_new": False}, ClaudeFailed),
        (set(), [LOOK], {"is_new": False}, ClaudeFailed),
        (set(), [LOOK, ODD], {}, InvalidRequest),
        (set(), [LOOK], {}, InvalidRequest),
        ({"Read"}, [LOOK], {"has_own": True}, InvalidRequest),
    ],
)
def test_tools_that_the_cli_offers(
    names: set[str],
    tools: list[Tool],
    about: dict[str, bool],
    error: type[CCProxyError] | None,
) -> None:
    found = check_offered(names, tools, **{"is_new": True, "has_own": False} | about)
    assert type(found) is (error or type(None))


@pytest.mark.parametrize("names", [("Agent",), ("Task",), ("Agent", "Task")])
def test_a_tool_that_the_cli_lists_by_another_name(names: tuple[str, ...]) -> None:
    tools = [Tool(name, None, {"type": "object"}) for name in names]
    assert check_offered(["Task"], tools, is_new=True, has_own=False) is None
    assert check_offered([], tools, is_new=True, has_own=False) is not None
