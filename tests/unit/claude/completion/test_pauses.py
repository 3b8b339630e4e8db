"""Answers that the provider pauses."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.body.result import ComposedBody
from ccproxy.claude.completion.pauses import MOST_PAUSES, Pauses
from ccproxy.core.blocks import Block, text_block
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    Restarted,
    TextDelta,
    Usage,
)

MESSAGES = [{"role": "user", "content": "hi"}]


def body(**fields: Any) -> ComposedBody:
    return ComposedBody(
        model="opus",
        system="",
        effort=None,
        first_text="hi",
        json=json.dumps({**fields, "messages": MESSAGES}).encode(),
    )


def search(number: int) -> Block:
    about = {"id": f"srvtoolu_{number}", "name": "web_search"}
    return Block.make("server_tool_use", **about, input={"query": f"q{number}"})


def told(blocks: Sequence[Block], reason: str, tokens: int = 5) -> list[Event]:
    """One part of an answer."""
    events: list[Event] = [MessageStart("m")]
    for index, block in enumerate(blocks):
        fields = json.loads(block.raw)
        if block.type == "text":
            events += [ContentBlockStart(text_block(""), index)]
            events += [TextDelta(fields["text"], index)]
        else:
            events.append(ContentBlockStart(block.replaced(input={}), index))
            events.append(InputJSONDelta(json.dumps(fields["input"]), index))
        events.append(ContentBlockStop(index))
    return [*events, Finished(reason, Usage(output_tokens=tokens))]


blocks = st.lists(
    st.builds(text_block, st.text(min_size=1)) | st.builds(search, st.integers(0, 9)),
    max_size=3,
)


@given(st.lists(blocks, max_size=3), blocks)
def test_the_parts_are_one_message(
    paused: list[list[Block]], last: list[Block]
) -> None:
    pauses, whole = Pauses(body()), MessageBuilder()
    parts = [[*part, search(0)] for part in paused]
    for count, part in enumerate(parts, 1):
        whole.receive(pauses.filter(told(part, "pause_turn")))
        assert pauses.is_paused
        assert not whole.is_over
        sent = json.loads(pauses.body.json)["messages"]
        so_far = [block for each in parts[:count] for block in each]
        kept = [b for b in so_far if b.type != "text" or b.value.text.strip()]  # type: ignore[union-attr]
        assert sent[:-1] == MESSAGES
        assert [block["type"] for block in sent[-1]["content"]] == [
            block.type for block in kept
        ]
    whole.receive(pauses.filter(told(last, "end_turn")))
    assert not pauses.is_paused
    assert whole.stop_reason == "end_turn"
    made = [json.loads(block.raw) for block in whole.blocks]
    expected = [block for part in (*parts, last) for block in part]
    assert made == [json.loads(block.raw) for block in expected]


def test_one_that_is_paused_for_ever_has_an_end() -> None:
    pauses = Pauses(body())
    for _ in range(MOST_PAUSES):
        pauses.filter(told([search(0)], "pause_turn"))
        assert pauses.is_paused
    *_, end = pauses.filter(told([search(0)], "pause_turn"))
    assert isinstance(end, Finished)
    assert not pauses.is_paused


@pytest.mark.parametrize("content", [[], [text_block("so")]])
def test_one_that_would_be_a_prefill_is_not_continued(content: list[Block]) -> None:
    pauses = Pauses(body())
    *_, end = pauses.filter(told(content, "pause_turn"))
    assert isinstance(end, Finished)


def test_the_limit_of_tokens_is_that_of_all_parts() -> None:
    pauses = Pauses(body(max_tokens=12))
    for left in (7, 2):
        pauses.filter(told([search(0)], "pause_turn"))
        assert json.loads(pauses.body.json)["max_tokens"] == left
    *_, end = pauses.filter(told([search(0)], "pause_turn"))
    assert isinstance(end, Finished)
    thinking = {"type": "enabled", "budget_tokens": 1024}
    pauses = Pauses(body(max_tokens=1028, thinking=thinking))
    pauses.filter(told([search(0)], "pause_turn"))
    assert json.loads(pauses.body.json)["max_tokens"] == 1025


def test_a_part_that_comes_again() -> None:
    pauses = Pauses(body())
    first = told([search(0)], "end_turn")
    assert pauses.filter([*first[:-1], Restarted(), *first]) == [
        *first[:-1],
        Restarted(),
        *first,
    ]
    pauses = Pauses(body())
    pauses.filter(told([search(0)], "pause_turn"))
    assert pauses.filter([MessageStart("m"), Restarted(), MessageStart("m")]) == []
    *_, end = pauses.filter([ContentBlockStart(text_block("")), Restarted()])
    # What was before the pause cannot be taken back.
    assert isinstance(end, Failed)
