"""The blocks of an answer as stream events: opened, filled, closed, counted."""

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.native.block_writer import BlockWriter
from ccproxy.core import stream
from ccproxy.core.blocks import Block

Step = Callable[[BlockWriter], Sequence[stream.Event]]


def test_an_answer_as_stream_events() -> None:
    writer, make = BlockWriter(), Block.make
    usage = stream.Usage(output_tokens=3)
    assert [
        *writer.message("m", usage),
        *writer.thinking("hm"),
        *writer.signature("sig"),
        *writer.redacted_thinking("data"),
        *writer.text("Hel"),
        *writer.text("lo"),
        *writer.call("toolu_1", "look"),
        *writer.arguments('{"a":1}'),
        *writer.close(),
    ] == [
        stream.MessageStart("m", usage),
        stream.ContentBlockStart(make("thinking", thinking="", signature=""), 0),
        stream.ThinkingDelta("hm", 0),
        stream.SignatureDelta("sig", 0),
        stream.ContentBlockStop(0),
        stream.ContentBlockStart(make("redacted_thinking", data="data"), 1),
        stream.ContentBlockStop(1),
        stream.ContentBlockStart(make("text", text=""), 2),
        stream.TextDelta("Hel", 2),
        stream.TextDelta("lo", 2),
        stream.ContentBlockStop(2),
        stream.ContentBlockStart(
            make("tool_use", id="toolu_1", name="look", input={}), 3
        ),
        stream.InputJSONDelta('{"a":1}', 3),
        stream.ContentBlockStop(3),
    ]


def text(said: str) -> Step:
    return lambda writer: writer.text(said)


STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(text, st.text(min_size=1)),
        st.sampled_from(
            [
                lambda writer: writer.thinking("hm"),
                lambda writer: writer.signature("sig"),
                lambda writer: writer.redacted_thinking("data"),
                lambda writer: writer.agent_tool("Read", "{}"),
                lambda writer: writer.message("m"),
                lambda writer: writer.restart(stream.Restarted()),
            ]
        ),
    )
)


@given(STEPS)
def test_blocks_are_opened_and_closed_in_order(steps: list[Step]) -> None:
    """A delta stands in an open block, and indices count up from 0 in each message."""
    writer = BlockWriter()
    events = [*writer.message("m")]
    said = ""
    for step in steps:
        told = step(writer)
        said += "".join(e.text for e in told if isinstance(e, stream.TextDelta))
        events += told
    is_open, index, heard = False, -1, ""
    for event in [*events, *writer.close()]:
        match event:
            case stream.MessageStart():
                assert not is_open
                index = -1
            case stream.Restarted():
                is_open, index = False, -1
            case stream.ContentBlockStart(index=at):
                assert not is_open
                assert at == index + 1
                is_open, index = True, at
            case stream.ContentBlockStop(at):
                assert (is_open, index) == (True, at)
                is_open = False
            case stream.TextDelta(piece, at):
                assert (is_open, index) == (True, at)
                heard += piece
            case stream.ThinkingDelta() | stream.SignatureDelta():
                assert is_open
    assert not is_open
    assert heard == said
