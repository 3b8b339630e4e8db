"""Random answers of the provider, as the lines that the CLI writes of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen
from hypothesis import strategies as st

from ccproxy.claude.protocol import codec
from ccproxy.claude.worker.turn_decoder import TurnDecoder
from ccproxy.core.stream import Event
from tests.support import cli_lines
from tests.support.cli_lines import Line
from tests.support.messages_requests import ODD_TEXTS

SIGNATURE, REDACTED = "c2ln", "cmVk"
REASONS = (
    *("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"),
    *("model_context_window_exceeded", "compaction", "a_reason_of_next_year"),
)
CUT_REASONS = ("max_tokens", "model_context_window_exceeded", "refusal")
# The tools of the clients, and names that the model makes up.
FUNCTION, CUSTOM = "look", "note"
_NAMES = (FUNCTION, FUNCTION, CUSTOM, "unheard_of", "functions.look", "", "n" * 200)
_IDS = ("toolu_1", "toolu_1", "toolu_2", "call|3", "né", "")
_ARGUMENTS = (
    *("", "{}", '{"path": "a.txt"}', '{"input": "so"}', '{"input": "so", "x": 1}'),
    *("null", "[1, 2]", '"text"', "3", "true", " \n", '{"a": 1}{"a": 2}'),
    *('{"n": 12345678901234567890, "one": 1.0, "zero": -0.0, "much": 1e400}',),
    *('{"a": NaN}', '{"a": 1, "a": 2}', '"{\\"path\\": \\"a.txt\\"}"', "so it is"),
    *('{"half": "\\ud83d"}', '{"\\ude00": "\\ud83d\\ude00"}', '{"path": "a\nb"}'),
    *('"{\\"half\\": \\"\\\\ud83d\\"}"', '{"a": {"b": [{"c": null}]}} ', "{}}"),
)
_HALVES = ("\ud83d", "\ude00", "a\ud83d", "\ude00b")
_WORDS = st.sampled_from((*ODD_TEXTS[:-1], "", " ", "\n\n", *_HALVES)) | st.text(
    max_size=8
)
_SERVER_CALL = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {},
}
_SERVER_RESULT = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [],
}
# The usage of ``message_start``.
BEGUN: Mapping[str, Any] = {
    "input_tokens": 11,
    "cache_read_input_tokens": 3,
    "output_tokens": 1,
}
UNKNOWN = {"type": "a_block_of_next_year", "x": {"y": [1.5, None]}}
_CITATION = {
    "type": "char_location",
    "cited_text": "so",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 2,
}


@frozen
class ScriptedBlock:
    """A block of an answer.

    Attributes:
        start: as it is in ``content_block_start``.
        deltas: all its deltas.
        is_closed: whether ``content_block_stop`` follows.
    """

    start: Mapping[str, Any]
    deltas: tuple[Mapping[str, Any], ...] = ()
    is_closed: bool = True

    @property
    def type(self) -> str:
        kind: str = self.start["type"]
        return kind

    def joined(self, name: str) -> str:
        """The strings of that name in its deltas."""
        return whole("".join(delta.get(name, "") for delta in self.deltas))


@frozen(kw_only=True)
class ScriptedAnswer:
    """An answer of the provider.

    Attributes:
        reason: None: the connection is lost before the end.
        usage: of ``message_delta``; None: it has none.
    """

    blocks: tuple[ScriptedBlock, ...]
    reason: str | None
    stop: Mapping[str, Any]
    usage: Mapping[str, Any] | None

    def lines(self) -> Iterator[Line]:
        """The lines of the CLI."""
        yield cli_lines.stream("an_event_of_next_year", x=1)
        yield cli_lines.message_start(**BEGUN)
        for index, block in enumerate(self.blocks):
            yield cli_lines.block_start(block.start, index)
            for delta in block.deltas:
                yield cli_lines.stream("content_block_delta", index=index, delta=delta)
                yield cli_lines.stream("ping")
            if block.is_closed:
                yield cli_lines.block_stop(index)
        if self.reason is not None:
            usage = self.usage
            yield cli_lines.message_delta(self.reason, usage=usage, **self.stop)
        yield cli_lines.MESSAGE_STOP
        yield cli_lines.result(is_error=self.reason is None, result="cut")

    def events(self) -> list[list[Event]]:
        """What the proxy's decoder makes of the lines, line by line."""
        decoder = TurnDecoder(0.0)
        found: list[list[Event]] = []
        for line in self.lines():
            record = codec.decode(cli_lines.encoded(line))
            events = [] if record is None else decoder.receive(record)
            if events:
                found.append(events)
        assert decoder.is_over
        return found


def whole(text: str) -> str:
    """A text with its halves of surrogate pairs joined, or replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _pieces(draw: st.DrawFn, text: str) -> list[str]:
    """A text, cut anywhere; a pair of surrogates, too."""
    halves = text.encode("utf-16-le", "surrogatepass")
    units = [halves[n : n + 2] for n in range(0, len(halves), 2)]
    places = draw(st.lists(st.integers(0, len(units)), max_size=3).map(sorted))
    ends = zip([0, *places], [*places, len(units)], strict=True)
    joined = [b"".join(units[start:end]) for start, end in ends]
    return [piece.decode("utf-16-le", "surrogatepass") for piece in joined]


@st.composite
def _texts(draw: st.DrawFn) -> ScriptedBlock:
    said = _pieces(draw, draw(_WORDS))
    deltas: list[dict[str, Any]] = [
        {"type": "text_delta", "text": piece} for piece in said
    ]
    if draw(st.integers(0, 3)) == 0:
        deltas.append({"type": "citations_delta", "citation": _CITATION})
    return ScriptedBlock({"type": "text", "text": ""}, tuple(deltas))


@st.composite
def _thoughts(draw: st.DrawFn) -> ScriptedBlock:
    thought = _pieces(draw, draw(_WORDS))
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in thought]
    if draw(st.integers(0, 4)):
        deltas.append({"type": "signature_delta", "signature": SIGNATURE})
    start = {"type": "thinking", "thinking": "", "signature": ""}
    return ScriptedBlock(start, tuple(deltas))


@st.composite
def _calls(draw: st.DrawFn) -> ScriptedBlock:
    arguments = draw(st.sampled_from(_ARGUMENTS) | st.text(max_size=5))
    if draw(st.integers(0, 2)) == 0:
        arguments = arguments[: draw(st.integers(0, len(arguments)))]
    name, identifier = draw(st.sampled_from(_NAMES)), draw(st.sampled_from(_IDS))
    start = {"type": "tool_use", "id": identifier, "name": name, "input": {}}
    deltas = [
        {"type": "input_json_delta", "partial_json": piece}
        for piece in _pieces(draw, arguments)
    ]
    return ScriptedBlock(start, tuple(deltas))


_FIXED: tuple[Mapping[str, Any], ...] = (
    {"type": "redacted_thinking", "data": REDACTED},
    _SERVER_CALL,
    _SERVER_RESULT,
    UNKNOWN,
)
_BLOCKS = (
    _texts()
    | _thoughts()
    | _calls()
    | _calls()
    | st.builds(ScriptedBlock, st.sampled_from(_FIXED))
)


@st.composite
def scripted_answers(draw: st.DrawFn) -> ScriptedAnswer:
    """Answers of any blocks and any end, also such that break off."""
    blocks = draw(st.lists(_BLOCKS, max_size=5))
    reason = draw(st.sampled_from([*REASONS, None]))
    if blocks and draw(st.integers(0, 3)) == 0:
        blocks[-1] = ScriptedBlock(blocks[-1].start, blocks[-1].deltas, is_closed=False)
    stop: dict[str, Any] = {}
    if reason == "refusal":
        told = st.sampled_from([None, "It is about poison."])
        category = draw(st.sampled_from([None, "bio"]))
        stop["stop_details"] = {
            "type": "refusal",
            "category": category,
            "explanation": draw(told),
        }
    if reason == "stop_sequence":
        stop["stop_sequence"] = "END"
    usage = draw(st.sampled_from([{"output_tokens": 20}, None]))
    return ScriptedAnswer(blocks=tuple(blocks), reason=reason, stop=stop, usage=usage)
