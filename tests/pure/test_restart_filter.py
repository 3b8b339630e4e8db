"""A stream that was cut and begun again, told as if it never was."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.messages import Block, text_block, thinking_block, tool_use_block
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
    UpstreamRetry,
)
from ccproxy.dialects.restart_filter import RestartFilter
from ccproxy.errors import ClaudeFailed, Overloaded

STARTED = MessageStart("claude-sonnet-4-5")
FINISHED = Finished("end_turn")
TEXT, THINKING = text_block(""), thinking_block("", "")
CALL = tool_use_block("toolu_1", "t", {})
# Few letters, so that answers are alike by chance, too.
ANSWERS = st.text("ab\u2028", max_size=12)


def started(index: int = 0, block: Block = TEXT) -> ContentBlockStart:
    return ContentBlockStart(block, index)


@st.composite
def pieces_of(draw: st.DrawFn, text: str, *, is_whole: bool = True) -> list[Event]:
    """A text as blocks of deltas, in any chunking; the last may still be open."""
    events: list[Event] = []
    index = 0
    while text:
        if not draw(st.booleans()) or not events:
            events += [ContentBlockStop(index)] if events else []
            index += 1
            events.append(started(index))
        size = draw(st.integers(1, len(text)))
        events.append(TextDelta(text[:size], index))
        text = text[size:]
    if events and (is_whole or draw(st.booleans())):
        events.append(ContentBlockStop(index))
    return events


@st.composite
def restarted(draw: st.DrawFn, text: str) -> list[Event]:
    """A message that was cut any number of times, anywhere, and came in the end."""
    events: list[Event] = [STARTED]
    for cut in draw(st.lists(st.integers(0, len(text)), max_size=4)):
        events += draw(pieces_of(text[:cut], is_whole=False))
        events += [UpstreamRetry("unknown", 1, 0.5)] if draw(st.booleans()) else []
        events += [Restarted(), STARTED]
    return events + draw(pieces_of(text))


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def check_blocks(events: Sequence[Event]) -> None:
    """Blocks are begun once, in order, and told only while they are open."""
    opened: set[int] = set()
    begun: set[int] = set()
    for event in events:
        match event:
            case MessageStart():
                assert not opened
                begun.clear()
            case ContentBlockStart(_, index):
                assert index not in begun
                assert not opened
                opened.add(index)
                begun.add(index)
            case ContentBlockStop(index):
                opened.remove(index)
            case TextDelta(_, index) | InputJSONDelta(_, index):
                assert index in opened
    assert not opened


@given(ANSWERS.flatmap(lambda text: st.tuples(st.just(text), restarted(text))))
def test_a_repeated_answer_is_told_once(case: tuple[str, list[Event]]) -> None:
    text, events = case
    kept = RestartFilter().filter([*events, FINISHED])
    assert text_of(kept) == text
    assert kept[-1] == FINISHED
    assert kept.count(STARTED) == 1
    assert not [event for event in kept if isinstance(event, Restarted)]
    assert not [e for e in kept if isinstance(e, TextDelta) and not e.text]
    check_blocks(kept)


@given(ANSWERS.flatmap(lambda text: st.tuples(st.just(text), restarted(text))))
def test_a_builder_makes_the_same_text_of_both(case: tuple[str, list[Event]]) -> None:
    text, events = case
    unfiltered, filtered = MessageBuilder(), MessageBuilder()
    unfiltered.receive([*events, FINISHED])
    filtered.receive(RestartFilter().filter([*events, FINISHED]))
    assert (unfiltered.text, filtered.text) == (text, text)
    assert unfiltered.is_whole
    assert filtered.is_whole


@given(st.lists(ANSWERS, min_size=1, max_size=4), st.data())
def test_each_message_of_an_answer_is_told_once(
    texts: list[str], data: st.DataObject
) -> None:
    events = [event for text in texts for event in data.draw(restarted(text))]
    kept = RestartFilter().filter([*events, FINISHED])
    assert text_of(kept) == "".join(texts)
    assert kept.count(STARTED) == len(texts)
    assert kept[-1] == FINISHED
    check_blocks(kept)


@given(ANSWERS.flatmap(restarted), st.data())
def test_it_does_not_matter_what_comes_together(
    events: list[Event], data: st.DataObject
) -> None:
    restarts = RestartFilter()
    kept: list[Event] = []
    left = [*events, FINISHED]
    while left:
        size = data.draw(st.integers(1, len(left)))
        kept += restarts.filter(left[:size])
        left = left[size:]
    assert kept == RestartFilter().filter([*events, FINISHED])


@given(ANSWERS, ANSWERS, st.data())
def test_an_answer_that_differs_from_what_was_sent_is_a_failure(
    sent: str, second: str, data: st.DataObject
) -> None:
    assume(not second.startswith(sent) and not sent.startswith(second))
    first = data.draw(pieces_of(sent, is_whole=False))
    again = data.draw(pieces_of(second))
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
    first = data.draw(pieces_of(sent, is_whole=False))
    again = data.draw(pieces_of(shorter))
    events = [STARTED, *first, Restarted(), STARTED, *again, FINISHED]
    kept = RestartFilter().filter(events)
    assert isinstance(kept[-1], Failed)
    assert text_of(kept) == sent


ABC = (STARTED, started(), TextDelta("abc"))


@pytest.mark.parametrize(
    "then",
    [
        [STARTED],
        [started(1, CALL)],
        [OpaqueDelta(b'{"type":"citations_delta","citation":{}}')],
    ],
)
def test_what_else_comes_before_all_is_repeated_is_a_failure(
    then: list[Event],
) -> None:
    restarts = RestartFilter()
    restarts.filter([*ABC, Restarted(), STARTED, started(), TextDelta("ab")])
    [failed] = restarts.filter(then)
    assert isinstance(failed, Failed)


def test_a_second_cut_owes_all_that_was_sent() -> None:
    restarts = RestartFilter()
    restarts.filter([*ABC, Restarted(), STARTED, started(), TextDelta("a")])
    again = [Restarted(), STARTED, started(), TextDelta("abcd"), ContentBlockStop()]
    assert restarts.filter([*again, FINISHED]) == [
        TextDelta("d"),
        ContentBlockStop(),
        FINISHED,
    ]


def test_what_is_new_goes_into_a_block_that_is_open() -> None:
    restarts = RestartFilter()
    ended = ContentBlockStop()
    first = [STARTED, started(), TextDelta("a"), ended]
    assert restarts.filter([*first, started(1), TextDelta("b", 1)])
    again = [Restarted(), STARTED, started(), TextDelta("abc"), ended]
    assert restarts.filter(again) == [TextDelta("c", 1), ContentBlockStop(1)]
    assert restarts.filter([started(1), TextDelta("d", 1)]) == [
        started(2),
        TextDelta("d", 2),
    ]


def test_a_call_may_follow_what_was_repeated() -> None:
    restarts = RestartFilter()
    restarts.filter([*ABC, Restarted(), STARTED])
    again = [started(), TextDelta("abc"), ContentBlockStop(), started(1, CALL)]
    assert restarts.filter([*again, InputJSONDelta("{}", 1)]) == [
        ContentBlockStop(),
        started(1, CALL),
        InputJSONDelta("{}", 1),
    ]


@pytest.mark.parametrize(
    "told",
    [
        [started(0, CALL)],
        [started(0, Block.make("server_tool_use", id="a", name="b", input={}))],
        [started(), OpaqueDelta(b'{"type":"citations_delta","citation":{}}')],
    ],
)
def test_what_cannot_be_told_again_is_a_failure(told: list[Event]) -> None:
    kept = RestartFilter().filter([STARTED, *told, Restarted("lost"), STARTED])
    assert kept[:-1] == [STARTED, *told]
    assert isinstance(kept[-1], Failed)
    assert "lost" in kept[-1].error.message


def test_an_earlier_message_is_not_owed() -> None:
    restarts = RestartFilter()
    first = [STARTED, started(), TextDelta("first"), ContentBlockStop()]
    restarts.filter([*first, STARTED, started(), TextDelta("sec"), Restarted()])
    kept = restarts.filter([STARTED, started(), TextDelta("second"), FINISHED])
    assert text_of(kept) == "ond"


def test_nothing_is_told_after_a_failure() -> None:
    restarts = RestartFilter()
    failed = Failed(Overloaded("busy"))
    assert restarts.filter([failed, TextDelta("a")]) == [failed]
    assert restarts.filter([TextDelta("b"), FINISHED]) == []


def test_a_failure_of_the_second_answer_is_its_own() -> None:
    failed = Failed(Overloaded("busy"))
    kept = RestartFilter().filter([*ABC, Restarted(), failed])
    assert kept == [*ABC, failed]


@pytest.mark.parametrize(
    "event",
    [
        UpstreamRetry("overloaded", 1, 0.5),
        AgentToolUsed("Read", "{}"),
        STARTED,
        FINISHED,
    ],
)
def test_everything_else_passes(event: Event) -> None:
    assert RestartFilter().filter([event]) == [event]


def test_thinking_that_was_told_is_not_told_again() -> None:
    restarts = RestartFilter()
    first: list[Event] = [STARTED, started(0, THINKING), ThinkingDelta("let me")]
    assert restarts.filter(first) == first
    again: list[Event] = [
        *(STARTED, started(0, THINKING), ThinkingDelta("well"), SignatureDelta("s")),
        *(ContentBlockStop(), started(1), TextDelta("one", 1), ContentBlockStop(1)),
    ]
    # The client's block is over: it is not gone on with.
    assert restarts.filter([Restarted()]) == [ContentBlockStop()]
    assert restarts.filter(again) == [
        started(1),
        TextDelta("one", 1),
        ContentBlockStop(1),
    ]
    following = [STARTED, started(0, THINKING), ThinkingDelta("next")]
    assert restarts.filter(following) == following


def test_thinking_that_was_not_told_yet_is() -> None:
    restarts = RestartFilter()
    assert restarts.filter([STARTED, Restarted(), STARTED]) == [STARTED]
    thinking = [started(0, THINKING), ThinkingDelta("well"), ContentBlockStop()]
    assert restarts.filter(thinking) == thinking
