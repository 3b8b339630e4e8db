"""What of a request is counted."""

import json
from typing import Any

import pytest

from ccproxy.api.messages.request import decode_messages
from ccproxy.claude.counting.countable import Countable, countable
from ccproxy.core.errors import InvalidRequest

TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
# The decoder writes it again.
DEFINITION = '{"name":"look","description":"Looks.","input_schema":{"type": "object"}}'
URL = {"type": "image", "source": {"type": "url", "url": "u"}}
PLAIN = {"type": "text", "data": "d", "media_type": "text/plain"}
CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "cat"}}


def read(*messages: Any, **fields: Any) -> Countable:
    body = {"messages": list(messages), **fields}
    return countable(decode_messages(json.dumps(body).encode()).request)


def user(*content: Any) -> dict[str, Any]:
    [first, *rest] = content
    whole = first if isinstance(first, str) and not rest else list(content)
    return {"role": "user", "content": whole}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


@pytest.mark.parametrize("content", ["hello\n", [text("hello\n")]])
def test_one_text_is_the_whole_request(content: Any) -> None:
    found = read({"role": "user", "content": content}, model="opus", temperature=1)
    assert found == Countable(text="hello\n", extra=0, is_whole=True)


@pytest.mark.parametrize(
    ("messages", "fields", "words", "extra"),
    [
        ([user("a")], {"system": "s"}, "s\na", 4),
        ([user("a")], {"thinking": {"type": "adaptive"}}, "a", 0),
        ([user("a")], {"output_config": {"effort": "low"}}, None, 0),
        ([{"role": "assistant", "content": "a"}], {}, "a", 0),
        ([user(text("a"), text("b"))], {}, "a\nb", 0),
        (
            [user("a"), {"role": "assistant", "content": "b"}, user("c")],
            {},
            "a\nb\nc",
            8,
        ),
        ([user("a")], {"tools": [TOOL]}, "a\n" + DEFINITION, 346),
        (
            [user("a")],
            {"tools": [TOOL], "tool_choice": {"type": "any"}},
            "a\n" + DEFINITION,
            313,
        ),
        (
            [
                user("a"),
                {"role": "assistant", "content": [CALL]},
                user({"type": "tool_result", "tool_use_id": "t1", "content": "cat"}),
            ],
            {},
            'a\nlook\n{"at": "cat"}\ncat',
            8,
        ),
        (
            [user(URL)],
            {},
            "",
            1600,
        ),
        (
            [
                user(
                    {
                        "type": "document",
                        "source": {
                            "type": "text",
                            "data": "d",
                            "media_type": "text/plain",
                        },
                    }
                )
            ],
            {},
            "d",
            0,
        ),
        (
            [
                user(
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [text("e")]},
                    }
                )
            ],
            {},
            "e",
            0,
        ),
        ([user({"type": "new", "a": 1})], {}, '{"type": "new", "a": 1}', 0),
    ],
)
def test_texts_and_overheads(
    messages: list[Any], fields: dict[str, Any], words: str | None, extra: int
) -> None:
    found = read(*messages, **fields)
    if words is None:
        assert found.is_whole
    else:
        assert found == Countable(text=words, extra=extra, is_whole=False)


def test_a_schema_is_counted() -> None:
    schema = {"type": "object", "title": "T"}
    found = read(
        user("a"), output_config={"format": {"type": "json_schema", "schema": schema}}
    )
    assert found.text == "a\n" + json.dumps(schema)
    assert not found.is_whole


def test_thinking_is_counted_if_it_can_be_read() -> None:
    thinking = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "redacted_thinking", "data": "secret"},
    ]
    assert read(user("a"), {"role": "assistant", "content": thinking}).text == "a\nhm"


def test_deferred_tools_are_counted_when_they_were_found() -> None:
    deferred = {**TOOL, "defer_loading": True, "cache_control": {"type": "ephemeral"}}
    assert read(user("a"), tools=[deferred]) == Countable(
        text="a", extra=0, is_whole=False
    )
    found = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "tool_reference", "tool_name": "look"}],
    }
    counted = read(
        user("a"),
        {"role": "assistant", "content": [{**CALL, "name": "ToolSearch"}]},
        user(found),
        tools=[deferred],
    )
    *_, definition = counted.text.split("\n")
    assert json.loads(definition) == TOOL
    assert counted.extra == 8 + 346


def test_an_invalid_block_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(user({"type": "tool_result", "tool_use_id": "t1", "content": 5}))
    assert caught.value.param == "messages[0].content[0]"


@pytest.mark.parametrize(
    ("words", "least", "most"),
    [("Hello, Claude", 6, 12), ("漢" * 100, 80, 130), ("", 0, 4)],
)
def test_estimate(words: str, least: int, most: int) -> None:
    assert least <= read(user(words)).estimate <= most
