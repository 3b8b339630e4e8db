"""The provider's searches as items."""

import json
from typing import Any

from ccproxy.core.blocks import Block
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Finished,
    InputJSONDelta,
)
from tests.support.folding import folded_response
from tests.support.spec import response_event_errors
from tests.unit.api.responses.samples import START, sealed


def call(number: int, name: str = "web_search", **given: str) -> list[Event]:
    about = {"id": f"srv_{number}", "name": name}
    start = Block.make("server_tool_use", **about, input={})
    pieces = InputJSONDelta(json.dumps(given), number)
    return [ContentBlockStart(start, number), pieces, ContentBlockStop(number)]


def result(number: int, index: int, content: Any, name: str = "web_search") -> Event:
    about = {"tool_use_id": f"srv_{number}", "content": content}
    return ContentBlockStart(Block.make(f"{name}_tool_result", **about), index)


def told(*events: Event) -> list[dict[str, Any]]:
    encoder = sealed(include=["web_search_call.action.sources"])
    wire = encoder.encode([START, *events, Finished("end_turn")])
    found = [json.loads(event.data) for event in [*wire, *encoder.conclude()]]
    for event in found:
        assert response_event_errors(event) == []
    return found


def test_calls_at_once_are_items_one_after_the_other() -> None:
    page = {"type": "web_search_result", "url": "https://b", "title": "B"}
    events = told(
        *call(0, query="a"),
        *call(1, query="b"),
        *call(2, "web_fetch", url="https://c"),
        # The results come in any order.
        result(1, 3, [page]),
        result(0, 4, []),
        result(2, 5, {"type": "web_fetch_result", "url": "https://c"}, "web_fetch"),
    )
    items = folded_response(events)["output"]
    assert [(item["status"], item["action"]) for item in items] == [
        (
            "completed",
            {"type": "search", "query": "a", "queries": ["a"], "sources": []},
        ),
        (
            "completed",
            {
                "type": "search",
                "query": "b",
                "queries": ["b"],
                "sources": [{"type": "url", "url": "https://b"}],
            },
        ),
        ("completed", {"type": "open_page", "url": "https://c"}),
    ]
    kinds = [e["type"] for e in events if "web_search_call" in e["type"]]
    stages = ("in_progress", "searching", "completed")
    assert kinds == [f"response.web_search_call.{stage}" for stage in stages] * 3


def test_calls_without_results_have_failed() -> None:
    events = told(*call(0, query="a"), *call(1, query="b"))
    items = folded_response(events)["output"]
    assert [item["status"] for item in items] == ["failed", "failed"]
    assert [item["action"]["query"] for item in items] == ["a", "b"]
