"""Random answers of the provider, as the lines that the CLI writes of them."""

import json
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
UNKNOWN_DELTA = {"type": "a_delta_of_next_year", "x": [1.5, None]}
# Most blocks begin empty.
_BEGINNINGS = st.sampled_from(("", "", "", "", "begun "))
# From here on another model answers.
FALLBACK = {
    "type": "fallback",
    "from": {"model": "claude-test"},
    "to": {"model": "claude-test-2"},
    "trigger": {"type": "refusal"},
}
UNKNOWN = {"type": "a_block_of_next_year", "x": {"y": [1.5, None]}}
_CITED = {"cited_text": "so 😀\x00", "document_index": 0, "document_title": None}
_BLOCKS_CITED = {"start_block_index": 0, "end_block_index": 2}
_FOUND = {"cited_text": "so", "title": None, "source": "b", "search_result_index": 1}
_PAGE = {"cited_text": "so", "title": "A", "url": "https://a", "encrypted_index": "x"}
_CITATIONS: tuple[Mapping[str, Any], ...] = (
    {"type": "char_location", **_CITED, "start_char_index": 3, "end_char_index": 9},
    {"type": "page_location", **_CITED, "start_page_number": 1, "end_page_number": 2},
    {"type": "content_block_location", **_CITED, **_BLOCKS_CITED},
    {"type": "search_result_location", **_FOUND, **_BLOCKS_CITED},
    {"type": "web_search_result_location", **_PAGE},
)


_FULL_USAGE: Mapping[str, Any] = {
    **BEGUN,
    "cache_creation_input_tokens": 5,
    "cache_creation": {"ephemeral_5m_input_tokens": 5},
    "service_tier": "standard",
    "inference_geo": None,
    "a_count_of_next_year": 3,
}
_LATER_USAGE: Mapping[str, Any] = {
    "input_tokens": 12,
    "cache_read_input_tokens": None,
    "output_tokens": 20,
    "output_tokens_details": {"thinking_tokens": 4},
    "server_tool_use": {"web_search_requests": 1},
    "iterations": [{"type": "message", "input_tokens": 1}],
}
_CONTAINER = {"id": "container_1", "expires_at": "2026-11-28T00:00:00Z"}
_MESSAGE_FIELDS: Mapping[str, Any] = {
    "container": {"id": "container_0"},
    "context_management": None,
    "input_transformations": [],
    "a_field_of_next_year": {"x": 1.5},
}
_EVENT_FIELDS: Mapping[str, Any] = {
    "context_management": {"applied_edits": [{"type": "clear_thinking_20251015"}]},
    "a_field_of_next_year": 2,
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

    @property
    def signature(self) -> str:
        """The signature of thinking."""
        found = [d["signature"] for d in self.deltas if "signature" in d]
        signature: str = self.start.get("signature", "")
        return found[-1] if found else signature

    @property
    def arguments(self) -> str:
        """The JSON of a call's arguments: in deltas, or else in its beginning."""
        given = json.dumps(self.start.get("input") or {}, separators=(",", ":"))
        return self.joined("partial_json") or ("" if given == "{}" else given)

    @property
    def has_object(self) -> bool:
        """Whether it is a call whose arguments are the JSON of an object, or absent."""
        if self.type != "tool_use":
            return False
        try:
            return isinstance(
                json.loads(self.arguments or "{}", parse_constant=int), dict
            )
        except ValueError:
            return False

    def document(self) -> Mapping[str, Any]:
        """The whole block, without a call's arguments."""
        texts = {name: self.joined(name) for name in ("text", "thinking")}
        changes: dict[str, Any] = {k: v for k, v in texts.items() if k in self.start}
        citations = [d["citation"] for d in self.deltas if "citation" in d]
        if citations:
            changes["citations"] = citations
        if "signature" in self.start:
            changes["signature"] = self.signature
        return {**self.start, **changes}

    def joined(self, name: str) -> str:
        """The strings of that name in its beginning and its deltas."""
        begun: str = self.start.get(name, "")
        return whole(begun + "".join(delta.get(name, "") for delta in self.deltas))


@frozen(kw_only=True)
class ScriptedAnswer:
    """An answer of the provider.

    Attributes:
        reason: None: the connection is lost before the end.
        stop: the other fields of ``delta`` in ``message_delta``.
        usage: of ``message_delta``; None: it has none.
        begun: the usage of ``message_start``.
        message: further fields of the message.
        event: further fields of ``message_delta``.
    """

    blocks: tuple[ScriptedBlock, ...]
    reason: str | None
    stop: Mapping[str, Any]
    usage: Mapping[str, Any] | None
    begun: Mapping[str, Any] = BEGUN
    message: Mapping[str, Any] = {}
    event: Mapping[str, Any] = {}

    @property
    def cited_texts(self) -> list[str]:
        """The texts of the blocks that cite a page."""
        return [
            block.joined("text")
            for block in self.blocks
            if any(_PAGE.items() <= d.get("citation", {}).items() for d in block.deltas)
            if block.joined("text")
        ]

    def joined(self, name: str) -> str:
        """The strings of that name in all its blocks."""
        return "".join(block.joined(name) for block in self.blocks)

    @property
    def model(self) -> str:
        """The model that answers at the end."""
        fell_back = any(block.type == "fallback" for block in self.blocks)
        return "claude-test-2" if fell_back else "claude-test"

    @property
    def message_fields(self) -> Mapping[str, Any]:
        """The fields of the message that have no place of their own in the events."""
        known = ("stop_details", "stop_sequence")
        told = {**self.message, **self.event, **self.stop}
        return {k: v for k, v in told.items() if k not in known and v is not None}

    @property
    def whole_usage(self) -> Mapping[str, Any]:
        """The usage of the whole message."""
        told = {k: v for k, v in (self.usage or {}).items() if v is not None}
        return {k: v for k, v in {**self.begun, **told}.items() if v is not None}

    def lines(self) -> Iterator[Line]:
        """The lines of the CLI."""
        yield cli_lines.stream("an_event_of_next_year", x=1)
        yield cli_lines.message_start(fields=self.message, **self.begun)
        for index, block in enumerate(self.blocks):
            yield cli_lines.block_start(block.start, index)
            for delta in block.deltas:
                yield cli_lines.stream("content_block_delta", index=index, delta=delta)
                yield cli_lines.stream("ping")
            if block.is_closed:
                yield cli_lines.block_stop(index)
        if self.reason is not None:
            usage = self.usage
            yield cli_lines.message_delta(
                self.reason, usage=usage, fields=self.event, **self.stop
            )
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
        cited = st.lists(st.sampled_from(_CITATIONS), min_size=1, max_size=2)
        deltas += [
            {"type": "citations_delta", "citation": each} for each in draw(cited)
        ]
    if draw(st.integers(0, 9)) == 0:
        deltas.insert(draw(st.integers(0, len(deltas))), UNKNOWN_DELTA)
    start = {"type": "text", "text": draw(_BEGINNINGS)}
    return ScriptedBlock(start, tuple(_extended(draw, deltas)))


def _extended(draw: st.DrawFn, deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Deltas, perhaps with another field."""
    if draw(st.integers(0, 9)):
        return deltas
    return [{**delta, "estimated_tokens": 50} for delta in deltas]


@st.composite
def _thoughts(draw: st.DrawFn) -> ScriptedBlock:
    thought = _pieces(draw, draw(_WORDS))
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in thought]
    if draw(st.integers(0, 4)):
        deltas.append({"type": "signature_delta", "signature": SIGNATURE})
    start = {"type": "thinking", "thinking": draw(_BEGINNINGS), "signature": ""}
    return ScriptedBlock(start, tuple(_extended(draw, deltas)))


@st.composite
def _calls(draw: st.DrawFn) -> ScriptedBlock:
    arguments = draw(st.sampled_from(_ARGUMENTS) | st.text(max_size=5))
    if draw(st.integers(0, 2)) == 0:
        arguments = arguments[: draw(st.integers(0, len(arguments)))]
    name, identifier = draw(st.sampled_from(_NAMES)), draw(st.sampled_from(_IDS))
    given = draw(st.sampled_from(({}, {}, {}, {"path": "b", "n": 1})))
    start = {"type": "tool_use", "id": identifier, "name": name, "input": given}
    deltas = [
        {"type": "input_json_delta", "partial_json": piece}
        for piece in _pieces(draw, arguments)
    ]
    return ScriptedBlock(start, tuple(_extended(draw, deltas)))


_PAGES = [
    {
        "type": "web_search_result",
        "url": "https://a",
        "title": "A",
        "encrypted_content": "x",
    }
]
_SEARCH_FAILED = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
_FIXED: tuple[Mapping[str, Any], ...] = (
    {"type": "redacted_thinking", "data": REDACTED},
    _SERVER_CALL,
    {**_SERVER_CALL, "id": "srvtoolu_2", "input": {"query": "so 😀"}},
    {**_SERVER_CALL, "name": "web_fetch", "input": {"url": "https://a"}},
    _SERVER_RESULT,
    {**_SERVER_RESULT, "tool_use_id": "srvtoolu_2", "content": _PAGES},
    {**_SERVER_RESULT, "content": _SEARCH_FAILED},
    FALLBACK,
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
    stop |= draw(st.sampled_from([{}, {}, {"container": _CONTAINER}]))
    return ScriptedAnswer(
        blocks=tuple(blocks),
        reason=reason,
        stop=stop,
        usage=draw(st.sampled_from([{"output_tokens": 20}, _LATER_USAGE, None])),
        begun=draw(st.sampled_from([BEGUN, _FULL_USAGE])),
        message=draw(st.sampled_from([{}, {}, _MESSAGE_FIELDS])),
        event=draw(st.sampled_from([{}, {}, _EVENT_FIELDS])),
    )
