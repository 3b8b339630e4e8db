"""A stream that was restarted, passed on as if it had not been."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ccproxy.api.common.restart_filter import RestartFilter
from ccproxy.core.blocks import Block, text_block
from ccproxy.core.errors import ClaudeFailed, Overloaded
from ccproxy.core.stream import (
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
    UpstreamRetry,
)

STARTED = MessageStart("claude-sonnet-4-5")
FINISHED = Finished("end_turn")
# Few letters, so that answers are alike by chance, too.
ANSWERS = st.text("ab\u2028", max_size=12)


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[Event]:
    """A text as deltas, in any chunking."""
    events: list[Event] = []
    while text:
        size = draw(st.integers(1, len(text)))
        events.append(TextDelta(text[:size]))
        text = text[size:]
    return events


@st.composite
def restarted(draw: st.DrawFn, text: str) -> list[Event]:
    """A message that was cut any number of times, anywhere, and came in the end."""
    events: list[Event] = [STARTED]
    for cut in draw(st.lists(st.integers(0, len(text)), max_size=4)):
        events += draw(pieces_of(text[:cut]))
        events += [UpstreamRetry("unknown", 1, 0.5)] if draw(st.booleans()) else []
        events += [Restarted(), STARTED]
    return events + draw(pieces_of(text))


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@given(ANSWERS.flatmap(lambda text: st.tuples(st.just(text), restarted(text))))
def test_a_repeated_answer_is_told_once(case: tuple[str, list[Event]]) -> None:
    text, events = case
    kept = RestartFilter().filter([*events, FINISHED])
    assert text_of(kept) == text
    assert kept[-1] == FINISHED
    assert Restarted() not in kept
    assert TextDelta("") not in kept


@given(st.lists(ANSWERS, min_size=1, max_size=4), st.data())
def test_each_message_of_a_turn_is_told_once(
    texts: list[str], data: st.DataObject
) -> None:
    events = [event for text in texts for event in data.draw(restarted(text))]
    kept = RestartFilter().filter([*events, FINISHED])
    assert text_of(kept) == "".join(texts)
    assert kept[-1] == FINISHED


@given(ANSWERS.flatmap(restarted), st.data())
def test_it_does_not_matter_what_comes_together(
    events: list[Event], data: st.DataObject
) -> None:
    replay = RestartFilter()
    kept: list[Event] = []
    left = [*events, FINISHED]
    while left:
        size = data.draw(st.integers(1, len(left)))
        kept += replay.filter(left[:size])
        left = left[size:]
    assert kept == RestartFilter().filter([*events, FINISHED])


@given(ANSWERS, ANSWERS, st.data())
def test_an_answer_that_differs_from_what_was_sent_is_a_failure(
    sent: str, second: str, data: st.DataObject
) -> None:
    assume(not second.startswith(sent) and not sent.startswith(second))
    first, again = data.draw(pieces_of(sent)), data.draw(pieces_of(second))
    events = [STARTED, *first, Restarted(), STARTED, *again, FINISHED]
    kept = RestartFilter().filter(events)
    assert isinstance(kept[-1], Failed)
    assert type(kept[-1].error) is ClaudeFailed
    assert FINISHED not in kept
    assert text_of(kept) == sent


@given(ANSWERS.filter(bool), st.data())
def test_an_answer_shorter_than_what_was_sent_is_a_failure(
    sent: str, data: st.DataObject
) -> None:
    shorter = sent[: data.draw(st.integers(0, len(sent) - 1))]
    first, again = data.draw(pieces_of(sent)), data.draw(pieces_of(shorter))
    events = [STARTED, *first, Restarted(), STARTED, *again, FINISHED]
    kept = RestartFilter().filter(events)
    assert isinstance(kept[-1], Failed)
    assert text_of(kept) == sent


def test_another_message_before_all_is_repeated_is_a_failure() -> None:
    replay = RestartFilter()
    replay.filter([STARTED, TextDelta("abc"), Restarted(), STARTED, TextDelta("ab")])
    [failed] = replay.filter([STARTED])
    assert isinstance(failed, Failed)


def test_a_second_cut_owes_all_that_was_sent() -> None:
    replay = RestartFilter()
    replay.filter([STARTED, TextDelta("abc"), Restarted(), STARTED, TextDelta("a")])
    kept = replay.filter([Restarted(), STARTED, TextDelta("abcd"), FINISHED])
    assert kept == [STARTED, TextDelta("d"), FINISHED]


def test_a_cut_after_the_repetition_owes_the_rest_too() -> None:
    replay = RestartFilter()
    replay.filter([STARTED, TextDelta("ab"), Restarted(), STARTED, TextDelta("abcd")])
    kept = replay.filter([Restarted(), STARTED, TextDelta("abcde")])
    assert text_of(kept) == "e"


def test_an_earlier_message_is_not_owed() -> None:
    replay = RestartFilter()
    replay.filter([STARTED, TextDelta("first"), STARTED, TextDelta("sec"), Restarted()])
    kept = replay.filter([STARTED, TextDelta("second"), FINISHED])
    assert text_of(kept) == "ond"


def test_nothing_is_told_after_a_failure() -> None:
    replay = RestartFilter()
    failed = Failed(Overloaded("busy"))
    assert replay.filter([failed, TextDelta("a")]) == [failed]
    assert replay.filter([TextDelta("b"), FINISHED]) == []


def test_a_failure_of_the_second_answer_is_its_own() -> None:
    failed = Failed(Overloaded("busy"))
    kept = RestartFilter().filter([STARTED, TextDelta("abc"), Restarted(), failed])
    assert kept == [STARTED, TextDelta("abc"), failed]


@pytest.mark.parametrize(
    "event",
    [UpstreamRetry("overloaded", 1, 0.5), ThinkingDelta("hm"), STARTED, FINISHED],
)
def test_everything_else_passes(event: Event) -> None:
    assert RestartFilter().filter([event]) == [event]


def test_thinking_that_was_told_is_not_told_again() -> None:
    replay = RestartFilter()
    start = MessageStart("m")
    first: list[Event] = [start, ThinkingDelta("let me"), TextDelta("one")]
    assert replay.filter(first) == first
    again: list[Event] = [
        Restarted(),
        start,
        ThinkingDelta("well"),
        TextDelta("one two"),
        start,
        ThinkingDelta("next"),
    ]
    assert replay.filter(again) == [
        start,
        TextDelta(" two"),
        start,
        ThinkingDelta("next"),
    ]


def test_thinking_that_was_not_told_yet_is() -> None:
    replay = RestartFilter()
    start = MessageStart("m")
    events: list[Event] = [start, Restarted(), start, ThinkingDelta("well")]
    assert replay.filter(events) == [start, start, ThinkingDelta("well")]


# Blocks: what a client of the Messages API is told keeps its order and numbers.

THINKING = Block.make("thinking", thinking="", signature="")
CALL = Block.make("tool_use", id="t", name="look", input={})


def text(index: int, *pieces: str, ends: bool = True) -> list[Event]:
    return [
        ContentBlockStart(text_block(""), index),
        *(TextDelta(piece, index) for piece in pieces),
        *([ContentBlockStop(index)] if ends else []),
    ]


def thinking(index: int, *pieces: str, ends: bool = True) -> list[Event]:
    return [
        ContentBlockStart(THINKING, index),
        *(ThinkingDelta(piece, index) for piece in pieces),
        *((SignatureDelta("s", index), ContentBlockStop(index)) if ends else ()),
    ]


def call(index: int) -> list[Event]:
    return [
        ContentBlockStart(CALL, index),
        InputJSONDelta("{}", index),
        ContentBlockStop(index),
    ]


def kept_of(*events: Event) -> list[Event]:
    return RestartFilter().filter(events)


def test_a_text_goes_on_in_its_block() -> None:
    first = [STARTED, *thinking(0, "hm"), *text(1, "on", ends=False)]
    second = [STARTED, *thinking(0, "oh"), *text(1, "one"), *call(2), FINISHED]
    assert kept_of(*first, Restarted(), *second) == [
        *first,
        STARTED,
        TextDelta("e", 1),
        ContentBlockStop(1),
        *call(2),
        FINISHED,
    ]


def test_the_second_answer_may_have_fewer_blocks_in_front() -> None:
    first = [STARTED, *thinking(0, "hm"), *text(1, "on", ends=False)]
    second = [STARTED, *text(0, "one"), *call(1), FINISHED]
    assert kept_of(*first, Restarted(), *second) == [
        *first,
        STARTED,
        TextDelta("e", 1),
        ContentBlockStop(1),
        *call(2),
        FINISHED,
    ]


def test_a_text_that_was_closed_goes_on_in_another_block() -> None:
    first = [STARTED, *text(0, "one")]
    second = [STARTED, *text(0, "one", " two"), *text(1, " three"), FINISHED]
    assert kept_of(*first, Restarted(), *second) == [
        *first,
        STARTED,
        *text(1, " two"),
        *text(2, " three"),
        FINISHED,
    ]


def test_thinking_that_was_cut_is_closed_and_no_more_is_told() -> None:
    first = [STARTED, *thinking(0, "hm", ends=False)]
    second = [STARTED, *thinking(0, "oh"), *text(1, "one"), FINISHED]
    assert kept_of(*first, Restarted(), *second) == [
        *first,
        ContentBlockStop(0),
        STARTED,
        *text(1, "one"),
        FINISHED,
    ]


def test_an_empty_block_is_filled_by_the_second_answer() -> None:
    first = [STARTED, *thinking(0, ends=False)]
    second = [STARTED, *thinking(0, "oh"), *text(1, "one"), FINISHED]
    assert kept_of(*first, Restarted(), *second) == [
        *first,
        STARTED,
        *thinking(0, "oh")[1:],
        *text(1, "one"),
        FINISHED,
    ]


@pytest.mark.parametrize(
    "block", [CALL, Block.make("server_tool_use", id="s", name="web_search", input={})]
)
def test_what_cannot_be_taken_back_ends_the_answer(block: Block) -> None:
    kept = kept_of(STARTED, ContentBlockStart(block), Restarted(), STARTED)
    assert isinstance(kept[-1], Failed)
    assert len(kept) == 3


def test_another_block_before_all_is_repeated_is_a_failure() -> None:
    first = [STARTED, *text(0, "abc", ends=False)]
    kept = kept_of(*first, Restarted(), STARTED, *text(0, "ab"), *call(1))
    assert isinstance(kept[-1], Failed)
    assert kept[:-1] == [*first, STARTED]


def test_citations_of_what_is_repeated_are_not_told_again() -> None:
    cited = OpaqueDelta(b'{"type":"citations_delta"}', 0)
    first = [STARTED, *text(0, "ab", ends=False), cited]
    second = [STARTED, *text(0, "a", ends=False), cited, TextDelta("bc"), cited]
    assert kept_of(*first, Restarted(), *second) == [
        *first,
        STARTED,
        TextDelta("c"),
        cited,
    ]


@st.composite
def answers(draw: st.DrawFn) -> list[list[Event]]:
    """The blocks of an answer: thinking, texts, perhaps a call at the end."""
    blocks: list[list[Event]] = []
    if draw(st.booleans()):
        blocks.append(thinking(0, *draw(st.lists(st.just("hm"), max_size=2))))
    for pieces in draw(
        st.lists(st.lists(ANSWERS.filter(bool), max_size=3), max_size=3)
    ):
        blocks.append(text(len(blocks), *pieces))
    if draw(st.booleans()):
        blocks.append(call(len(blocks)))
    return blocks


@given(answers(), st.lists(st.integers(0, 20), max_size=3))
def test_blocks_follow_one_another(blocks: list[list[Event]], cuts: list[int]) -> None:
    """Numbers count up, one block is open at a time, every delta is in it."""
    answer = [event for block in blocks for event in block]
    has_call = bool(answer) and any(
        isinstance(e, ContentBlockStart) and e.block == CALL for e in answer
    )
    whole = len(answer) - 3 * has_call
    events: list[Event] = []
    for cut in cuts:
        events += [STARTED, *answer[: min(cut, whole)], Restarted()]
    kept = kept_of(*events, STARTED, *answer, FINISHED)
    assert kept[-1] == FINISHED
    assert text_of(kept) == text_of(answer)
    open_index: int | None = None
    count = 0
    for event in kept:
        match event:
            case ContentBlockStart(_, index):
                assert (open_index, index) == (None, count)
                open_index, count = index, count + 1
            case ContentBlockStop(index):
                assert index == open_index
                open_index = None
            case TextDelta(_, index) | ThinkingDelta(_, index):
                assert index == open_index
            case SignatureDelta(_, index) | InputJSONDelta(_, index):
                assert index == open_index
    assert open_index is None
