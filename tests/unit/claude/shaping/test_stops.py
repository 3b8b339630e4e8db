"""Stop sequences of white space."""

from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.shaping.stops import StopShaper
from ccproxy.core.stream import Finished, Restarted, Usage
from tests.unit.claude.shaping.answers import answer, run, saying

_TEXTS = st.text(st.sampled_from("ab \n\t"), min_size=1, max_size=40)
_STOPS = st.lists(st.text(st.sampled_from(" \n\t"), min_size=1, max_size=4), min_size=1)


@given(_TEXTS, _STOPS, st.integers(1, 5), st.integers(1, 7))
def test_the_answer_ends_before_the_first_stop_sequence(
    text: str, stops: list[str], size: int, chunk: int
) -> None:
    client = run(StopShaper(stops), answer(text, size=size), chunk=chunk)
    ends = [n for n in range(len(text) + 1) if text[:n].endswith(tuple(stops))]
    if ends:
        # As the provider does it: at the first that is whole.
        said = text[: ends[0]]
        assert client.text == said[: len(said) - max(_lengths(said, stops))]
        assert client.stop_reason == "stop_sequence"
    else:
        assert client.text == text
        assert client.stop_reason == "end_turn"


def _lengths(text: str, stops: list[str]) -> list[int]:
    return [len(stop) for stop in stops if text.endswith(stop)]


def test_the_end_has_the_sequence_and_the_usage_of_the_start() -> None:
    client = run(StopShaper(["\n"]), answer("one\ntwo"))
    end = client.events[-1]
    assert isinstance(end, Finished)
    assert end.stop_sequence == "\n"
    assert end.usage == Usage(input_tokens=7)


def test_a_sequence_is_not_found_across_blocks() -> None:
    client = run(StopShaper(["\n\n"]), answer("one\n", "\ntwo"))
    assert client.stop_reason == "end_turn"
    assert client.text == "one\n\ntwo"


def test_sequences_in_thinking_and_calls_are_ignored() -> None:
    client = run(StopShaper(["m"]), answer(..., "one", ("look", {"m": "m"})))
    assert client.kinds == ["thinking", "text", "tool_use"]


def test_held_text_is_dropped_with_a_void_message() -> None:
    shaper = StopShaper(["\n\n"])
    first = [*saying("one\n")[:-1], Restarted()]
    client = run(shaper, [*first, *answer("\ntwo")])
    assert client.text == "\ntwo"
