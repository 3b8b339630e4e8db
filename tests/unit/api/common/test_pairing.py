"""Calls and results of long histories: compared with a plain implementation."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from ccproxy.api.common.pairing import NO_ID, paired
from ccproxy.core.blocks import (
    Block,
    ToolResult,
    ToolUse,
    tool_result_block,
    tool_use_block,
)
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Adjustments, Message


class CountedID(str):
    """An id that counts how often it is looked up or compared."""

    __slots__ = ()
    uses = 0

    @override
    def __hash__(self) -> int:
        CountedID.uses += 1
        return str.__hash__(self)

    @override
    def __eq__(self, other: object) -> bool:
        CountedID.uses += 1
        return str.__eq__(self, other)


def history(calls: Sequence[str], results: Sequence[str]) -> list[Message]:
    """A turn with calls, and a turn with results; a result's text is its number."""
    asked = [tool_use_block(name, "f", {}) for name in calls]
    told = [tool_result_block(name, str(n)) for n, name in enumerate(results)]
    return [
        Message("user", "hello"),
        Message("assistant", tuple(asked)),
        Message("user", tuple(told)),
    ]


def plainly(calls: Sequence[str], results: Sequence[str]) -> list[int] | None:
    """For each result the number of its call; None: they do not match.

    Each result looks at all calls.
    """
    waiting = list(range(len(calls)))
    found: list[int] = []
    for name in results:
        suiting = [n for n in waiting if calls[n] == name]
        if not suiting and name == NO_ID:
            suiting = waiting
        if not suiting:
            return None
        found.append(suiting[0])
        waiting.remove(suiting[0])
    return None if waiting else found


def names(message: Message, kind: type[ToolUse] | type[ToolResult]) -> list[str]:
    blocks: Sequence[Block] = message.blocks
    return [
        getattr(block.value, "id" if kind is ToolUse else "tool_use_id")
        for block in blocks
        if isinstance(block.value, kind)
    ]


ids = st.lists(st.sampled_from(["a", "b", "a.", "a_", NO_ID]), max_size=8)


@given(ids, st.data())
def test_results_get_the_calls_that_a_plain_search_finds(
    calls: list[str], data: st.DataObject
) -> None:
    results = data.draw(st.permutations(calls) | ids)
    wanted = plainly(calls, results)
    if not calls or not results:
        return
    if wanted is None:
        with pytest.raises(InvalidRequest):
            paired(history(calls, results), "messages", Adjustments())
        return
    _, asked, told = paired(history(calls, results), "messages", Adjustments())
    given_names = names(asked, ToolUse)
    assert len(set(given_names)) == len(calls)
    assert names(told, ToolResult) == [given_names[n] for n in wanted]


def uses_of(count: int) -> int:
    calls = [CountedID(f"call_{n}") for n in range(count)]
    blocks = [
        Block(ToolUse(name, "f"), b"{}", f"messages[1].content[{n}]", "tool_use")
        for n, name in enumerate(calls)
    ]
    results = [Block(ToolResult(name), b"{}", "", "tool_result") for name in calls]
    messages = [
        Message("user", "hello"),
        Message("assistant", tuple(blocks)),
        Message("user", tuple(reversed(results))),
    ]
    CountedID.uses = 0
    paired(messages, "messages", Adjustments())
    return CountedID.uses


def test_work_grows_with_the_number_of_calls_and_not_with_its_square() -> None:
    assert 0 < uses_of(400) <= 2 * uses_of(200)
