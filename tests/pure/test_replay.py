"""A stream that was cut and begun again, told as if it never was."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ccproxy.dialects.replay import Replay
from ccproxy.errors import ClaudeFailed, Overloaded
from ccproxy.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    MessageStarted,
    Restarted,
    TextDelta,
    ThinkingDelta,
    Usage,
    Waiting,
)

STARTED = MessageStarted("claude-sonnet-4-5")
FINISHED = Finished(FinishReason.STOP, Usage())
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
        events += [Waiting("unknown", 1, 0.5)] if draw(st.booleans()) else []
        events += [Restarted(), STARTED]
    return events + draw(pieces_of(text))


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@given(ANSWERS.flatmap(lambda text: st.tuples(st.just(text), restarted(text))))
def test_a_repeated_answer_is_told_once(case: tuple[str, list[Event]]) -> None:
    text, events = case
    kept = Replay().filter([*events, FINISHED])
    assert text_of(kept) == text
    assert kept[-1] == FINISHED
    assert Restarted() not in kept
    assert TextDelta("") not in kept


@given(st.lists(ANSWERS, min_size=1, max_size=4), st.data())
def test_each_message_of_a_turn_is_told_once(
    texts: list[str], data: st.DataObject
) -> None:
    events = [event for text in texts for event in data.draw(restarted(text))]
    kept = Replay().filter([*events, FINISHED])
    assert text_of(kept) == "".join(texts)
    assert kept[-1] == FINISHED


@given(ANSWERS.flatmap(restarted), st.data())
def test_it_does_not_matter_what_comes_together(
    events: list[Event], data: st.DataObject
) -> None:
    replay = Replay()
    kept: list[Event] = []
    left = [*events, FINISHED]
    while left:
        size = data.draw(st.integers(1, len(left)))
        kept += replay.filter(left[:size])
        left = left[size:]
    assert kept == Replay().filter([*events, FINISHED])


@given(ANSWERS, ANSWERS, st.data())
def test_an_answer_that_differs_from_what_was_sent_is_a_failure(
    sent: str, second: str, data: st.DataObject
) -> None:
    assume(not second.startswith(sent) and not sent.startswith(second))
    first, again = data.draw(pieces_of(sent)), data.draw(pieces_of(second))
    events = [STARTED, *first, Restarted(), STARTED, *again, FINISHED]
    kept = Replay().filter(events)
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
    kept = Replay().filter(events)
    assert isinstance(kept[-1], Failed)
    assert text_of(kept) == sent


def test_another_message_before_all_is_repeated_is_a_failure() -> None:
    replay = Replay()
    replay.filter([STARTED, TextDelta("abc"), Restarted(), STARTED, TextDelta("ab")])
    [failed] = replay.filter([STARTED])
    assert isinstance(failed, Failed)


def test_a_second_cut_owes_all_that_was_sent() -> None:
    replay = Replay()
    replay.filter([STARTED, TextDelta("abc"), Restarted(), STARTED, TextDelta("a")])
    kept = replay.filter([Restarted(), STARTED, TextDelta("abcd"), FINISHED])
    assert kept == [STARTED, TextDelta("d"), FINISHED]


def test_a_cut_after_the_repetition_owes_the_rest_too() -> None:
    replay = Replay()
    replay.filter([STARTED, TextDelta("ab"), Restarted(), STARTED, TextDelta("abcd")])
    kept = replay.filter([Restarted(), STARTED, TextDelta("abcde")])
    assert text_of(kept) == "e"


def test_an_earlier_message_is_not_owed() -> None:
    replay = Replay()
    replay.filter([STARTED, TextDelta("first"), STARTED, TextDelta("sec"), Restarted()])
    kept = replay.filter([STARTED, TextDelta("second"), FINISHED])
    assert text_of(kept) == "ond"


def test_nothing_is_told_after_a_failure() -> None:
    replay = Replay()
    failed = Failed(Overloaded("busy"))
    assert replay.filter([failed, TextDelta("a")]) == [failed]
    assert replay.filter([TextDelta("b"), FINISHED]) == []


def test_a_failure_of_the_second_answer_is_its_own() -> None:
    failed = Failed(Overloaded("busy"))
    kept = Replay().filter([STARTED, TextDelta("abc"), Restarted(), failed])
    assert kept == [STARTED, TextDelta("abc"), failed]


@pytest.mark.parametrize(
    "event", [Waiting("overloaded", 1, 0.5), ThinkingDelta("hm"), STARTED, FINISHED]
)
def test_everything_else_passes(event: Event) -> None:
    assert Replay().filter([event]) == [event]


def test_thinking_that_was_told_is_not_told_again() -> None:
    replay = Replay()
    start = MessageStarted("m")
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
    replay = Replay()
    start = MessageStarted("m")
    events: list[Event] = [start, Restarted(), start, ThinkingDelta("well")]
    assert replay.filter(events) == [start, start, ThinkingDelta("well")]
