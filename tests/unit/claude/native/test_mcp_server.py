"""The client's tools as an MCP server for the CLI, in native mode."""

import json
from typing import Any

import pytest

from ccproxy.claude.native.mcp_server import MCPServer, check_offered, offer
from ccproxy.claude.native.prompt import PromptTool
from ccproxy.claude.native.turn_decoder import NativeTurnDecoder
from ccproxy.claude.protocol.codec import decode
from ccproxy.claude.protocol.records import (
    ControlRequest,
    ControlRequestBody,
    MCPMessage,
)
from ccproxy.core.blocks import Block
from ccproxy.core.errors import CCProxyError, ClaudeFailed, InvalidRequest
from ccproxy.core.stream import (
    ContentBlockStart,
    Event,
    Finished,
    FinishReason,
    InputJSONDelta,
    MessageStart,
)

TOOL = PromptTool("look", None, {"type": "object"})
CALL = Block.make("tool_use", id="t1", name="look", input={})


def test_no_tools_are_no_server() -> None:
    assert offer(()) == {}


def test_older_cli_that_asks_again_is_answered() -> None:
    def ask(method: str, identifier: int | None = 7) -> Any:
        sent: list[Any] = []
        server = MCPServer(lambda request_id, answer: sent.append(answer))
        server.offer((TOOL,))
        message = MCPMessage(method, identifier)
        about = ControlRequestBody("mcp_message", "client", message)
        server.receive(ControlRequest("r1", about), message)
        return sent[0] if sent else None

    assert ask("tools/list")["result"]["tools"][0]["name"] == "look"
    assert ask("initialize")["result"]["capabilities"] == {"tools": {}}
    assert ask("initialize")["id"] == 7
    assert ask("notifications/initialized", None)["result"] == {}
    assert ask("tools/call") is None


def feed(turn: NativeTurnDecoder, *records: dict[str, Any]) -> list[Event]:
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
    turn = NativeTurnDecoder(0, frozenset({"look"}))
    events = feed(turn, *begins("look"))
    assert events[1:3] == [ContentBlockStart(CALL), InputJSONDelta("{}")]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.TOOL_USE
    assert turn.waits_for_results
    assert not turn.will_send_own_request


def test_call_of_the_clis_own_tool_does_not() -> None:
    turn = NativeTurnDecoder(0, frozenset({"look"}))
    assert feed(turn, *begins("Read")) == [MessageStart("m")]
    assert not turn.is_over


def test_call_in_a_whole_message() -> None:
    turn = NativeTurnDecoder(0, frozenset({"look"}))
    block = {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}
    message = {"id": "m1", "model": "m", "content": [block], "stop_reason": "tool_use"}
    events = feed(turn, {"type": "assistant", "message": message})
    assert events[1:3] == [ContentBlockStart(CALL), InputJSONDelta('{"a": 1}')]
    assert isinstance(events[-1], Finished)


LOOK = PromptTool("look", None, {"type": "object"})
ODD = PromptTool("odd", None, {"type": "object", "required": ["a", "a"]})


@pytest.mark.parametrize(
    ("names", "tools", "about", "error"),
    [
        ({"look"}, [LOOK], {}, None),
        ({"look", "Read"}, [LOOK], {"has_own": True}, None),
        ({"look", "Read"}, [LOOK], {}, ClaudeFailed),
        (set(), [LOOK, ODD], {}, InvalidRequest),
        (set(), [LOOK], {}, InvalidRequest),
        ({"Read"}, [LOOK], {"has_own": True}, InvalidRequest),
    ],
)
def test_tools_that_the_cli_offers(
    names: set[str],
    tools: list[PromptTool],
    about: dict[str, bool],
    error: type[CCProxyError] | None,
) -> None:
    found = check_offered(names, tools, **{"has_own": False} | about)
    assert type(found) is (error or type(None))


@pytest.mark.parametrize("names", [("Agent",), ("Task",), ("Agent", "Task")])
def test_a_tool_that_the_cli_lists_by_another_name(names: tuple[str, ...]) -> None:
    tools = [PromptTool(name, None, {"type": "object"}) for name in names]
    assert check_offered(["Task"], tools, has_own=False) is None
    assert check_offered([], tools, has_own=False) is not None
