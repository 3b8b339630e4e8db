"""Messages built from stream events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.core.blocks import Block, text_block, thinking_block, tool_use_block
from ccproxy.core.errors import ClaudeFailed
from ccproxy.core.message_builder import BuiltBlock, MessageBuilder
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)

STARTED = MessageStart("claude-test-1", Usage(input_tokens=3), "msg_1")
FINISHED = Finished("end_turn", Usage(output_tokens=7), stop_details=Raw(b"null"))


def built(*events: Event) -> MessageBuilder:
    builder = MessageBuilder()
    builder.receive(events)
    return builder


def documents(builder: MessageBuilder) -> list[Any]:
    return [json.loads(block.raw) for block in builder.blocks]


PIECES = st.text(min_size=1, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)


@st.composite
def deltas_of(draw: st.DrawFn, text: str, make: Any, index: int) -> list[Event]:
    events = []
    while text:
        size = draw(st.integers(1, len(text)))
        events.append(make(text[:size], index))
        text = text[size:]
    return events


@st.composite
def told(draw: st.DrawFn, block: dict[str, Any], index: int) -> list[Event]:
    """A block as the provider streams it, in any chunking."""
    deltas: list[Event] = []
    start: dict[str, Any] = block
    match block["type"]:
        case "text":
            deltas = draw(deltas_of(block["text"], TextDelta, index))
            for citation in block.get("citations", ()):
                raw = json.dumps({"type": "citations_delta", "citation": citation})
                place = draw(st.integers(0, len(deltas)))
                # Citations keep their order.
                last = [n for n, e in enumerate(deltas) if isinstance(e, OpaqueDelta)]
                place = max([place, *(n + 1 for n in last)])
                deltas.insert(place, OpaqueDelta(raw.encode(), index))
            start = {"type": "text", "text": ""}
            start |= {"citations": []} if "citations" in block else {}
        case "thinking":
            deltas = draw(deltas_of(block["thinking"], ThinkingDelta, index))
            deltas.append(SignatureDelta(block["signature"], index))
            start = {**block, "thinking": "", "signature": ""}
        case "tool_use" | "server_tool_use":
            arguments = json.dumps(block["input"])
            deltas = draw(deltas_of(arguments, InputJSONDelta, index))
            start = {**block, "input": {}}
    began = ContentBlockStart(Block.decode(json.dumps(start).encode()), index)
    return [began, *deltas, ContentBlockStop(index)]


def _block(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


BLOCKS = st.one_of(
    _block("text", text=st.text(max_size=8)),
    _block("text", text=st.text(max_size=8), citations=st.lists(OBJECTS, max_size=3)),
    _block("thinking", thinking=st.text(max_size=8), signature=PIECES),
    _block("redacted_thinking", data=PIECES),
    _block("tool_use", id=PIECES, name=PIECES, input=OBJECTS),
    _block("server_tool_use", id=PIECES, name=PIECES, input=OBJECTS),
    _block("of_tomorrow", content=VALUES),
)


@given(st.lists(st.lists(BLOCKS, max_size=4), min_size=1, max_size=3), st.data())
def test_any_chunking_builds_the_same_blocks(
    messages: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    builder = MessageBuilder()
    for blocks in messages:
        if data.draw(st.booleans()):
            # What was cut before leaves nothing behind.
            lost = [e for b in blocks for e in data.draw(told(b, 0))]
            builder.receive([STARTED, *lost[: data.draw(st.integers(0, 9))]])
            builder.receive([Restarted()])
        builder.receive([STARTED])
        for index, block in enumerate(blocks):
            builder.receive(data.draw(told(block, index)))
    builder.receive([FINISHED])
    whole = [block for blocks in messages for block in blocks]
    assert documents(builder) == whole
    assert [block.type for block in builder.blocks] == [b["type"] for b in whole]
    assert builder.is_whole
    assert builder.is_exact
    said = [block["text"] for block in whole if block["type"] == "text"]
    assert builder.text == "".join(said)


def test_model_usage_and_stop_reason_of_an_answer() -> None:
    builder = built(STARTED)
    assert (builder.model, builder.id) == ("claude-test-1", "msg_1")
    assert (builder.usage, builder.stop_reason) == (STARTED.usage, None)
    assert not builder.is_over
    builder.receive([FINISHED])
    assert (builder.usage, builder.stop_reason) == (FINISHED.usage, "end_turn")
    assert builder.is_over
    assert builder.is_whole


def test_a_failure_leaves_no_message() -> None:
    error = ClaudeFailed("no")
    builder = built(STARTED, ContentBlockStart(text_block("")), Failed(error))
    assert builder.is_over
    assert builder.error is error
    assert not builder.is_whole


def test_deltas_of_blocks_may_alternate() -> None:
    builder = built(
        STARTED,
        ContentBlockStart(text_block("a"), 0),
        ContentBlockStart(text_block(""), 1),
        TextDelta("c", 1),
        TextDelta("b", 0),
    )
    assert builder.text == "abc"
    builder.receive([ContentBlockStop(0), FINISHED])
    assert not builder.is_whole


CALL = ContentBlockStart(tool_use_block("a", "t", {}))
CALL_DOCUMENT = {"type": "tool_use", "id": "a", "name": "t"}


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ("", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a"', {"arguments": '{"a"'}),
        ("[1]", {"arguments": "[1]"}),
        ("[" * 5000, {"arguments": "[" * 5000}),
        ('{"half": "\\ud83d"}', {"half": "\ufffd"}),
    ],
)
def test_arguments_that_are_no_object_become_one(
    arguments: str, read: dict[str, Any]
) -> None:
    deltas = [InputJSONDelta(arguments)] if arguments else []
    builder = built(STARTED, CALL, *deltas, ContentBlockStop(), Finished("max_tokens"))
    assert documents(builder) == [{**CALL_DOCUMENT, "input": read}]
    assert builder.is_whole is (arguments in ("", '{"a": 1}'))


@pytest.mark.parametrize("number", ["123456789012345678901234567890.10", "1e400"])
def test_numbers_of_a_call_stay_as_they_are(number: str) -> None:
    builder = built(STARTED, CALL, InputJSONDelta('{"n": ' + number + "}"))
    assert number.encode() in builder.blocks[0].raw


def test_deltas_of_unknown_types_are_merged() -> None:
    start = {"type": "compaction", "content": None, "said": "a", "seen": [1], "n": 1}
    block = Block.decode(json.dumps(start).encode())
    more = {"type": "x", "content": "c", "said": "b", "seen": [2], "n": 2, "new": {}}
    delta = OpaqueDelta(json.dumps(more).encode())
    builder = built(STARTED, ContentBlockStart(block), delta, ContentBlockStop())
    assert documents(builder) == [
        {
            "type": "compaction",
            "content": "c",
            "said": "ab",
            "seen": [1, 2],
            "n": 2,
            "new": {},
        }
    ]
    assert not builder.is_exact


def test_deltas_without_a_block_are_ignored() -> None:
    builder = built(
        STARTED,
        TextDelta("a"),
        SignatureDelta("s", 1),
        OpaqueDelta(b'{"type":"x"}', 2),
        ContentBlockStop(3),
        FINISHED,
    )
    assert builder.blocks == ()


def test_a_signature_replaces_the_previous() -> None:
    builder = built(
        STARTED,
        ContentBlockStart(thinking_block("a", "old")),
        ThinkingDelta("b"),
        SignatureDelta("new"),
    )
    assert builder.blocks == (thinking_block("ab", "new"),)


def test_several_messages_are_joined_without_void_parts() -> None:
    look = tool_use_block("t", "look", {})
    use = AgentToolUsed("WebSearch", '{"query":"x"}')
    builder = built(
        *(STARTED, ContentBlockStart(text_block("")), TextDelta("one"), use),
        *(STARTED, ContentBlockStart(text_block("")), TextDelta("lost"), Restarted()),
        *(STARTED, ContentBlockStart(look), InputJSONDelta('{"a":')),
        Finished("max_tokens"),
    )
    assert builder.parts == [
        *(STARTED, BuiltBlock(text_block("one")), use),
        # The arguments of a call that was cut off, as far as they came.
        *(STARTED, BuiltBlock(look, '{"a":')),
    ]
    called = {"type": "tool_use", "id": "t", "name": "look"}
    assert documents(builder) == [
        {"type": "text", "text": "one"},
        {**called, "input": {"arguments": '{"a":'}},
    ]
