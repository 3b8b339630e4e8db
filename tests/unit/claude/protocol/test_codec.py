"""Stream-json: bytes to lines, lines to records, values to lines."""

import json
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy.claude.protocol import codec as wire
from ccproxy.claude.protocol import records, requests
from ccproxy.claude.protocol.codec import LineSplitter, WireError
from ccproxy.claude.protocol.stream import (
    AssistantLine,
    BlockDeltaEvent,
    StreamLine,
    TextPiece,
    UserLine,
)

WELL_FORMED = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
PIECES = st.lists(
    st.binary(max_size=10)
    | st.text("ab\n\r", max_size=10).map(str.encode)
    | st.text("é\u2028\n", max_size=6).map(str.encode)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=12,
)
KNOWN_TYPES = (
    "stream_event",
    "assistant",
    "user",
    "result",
    "rate_limit_event",
    "control_response",
    "control_request",
)
MESSAGE = {"id": "msg_1", "model": "m"}
SAMPLES: Mapping[type, Mapping[str, Any]] = {
    StreamLine: {
        "type": "stream_event",
        "event": {"type": "message_start", "message": MESSAGE},
        "parent_tool_use_id": None,
    },
    AssistantLine: {
        "type": "assistant",
        "message": {**MESSAGE, "content": [{"type": "text", "text": "hi"}]},
    },
    UserLine: {
        "type": "user",
        "message": {"role": "user", "content": "Continue"},
        "isSynthetic": True,
    },
    records.Result: {"type": "result", "subtype": "success", "is_error": False},
    records.ApiRetry: {
        "type": "system",
        "subtype": "api_retry",
        "attempt": 1,
        "retry_delay_ms": 512.5,
        "error_status": 529,
        "error": "overloaded",
    },
    records.RateLimitEvent: {
        "type": "rate_limit_event",
        "rate_limit_info": {"status": "rejected", "resetsAt": 1700000000},
    },
    records.ControlResponse: {
        "type": "control_response",
        "response": {"subtype": "success", "request_id": "r1", "response": {"a": 1}},
    },
    records.ControlRequest: {
        "type": "control_request",
        "request_id": "r2",
        "request": {"subtype": "can_use_tool"},
    },
}


def line_of(record: object) -> bytes:
    return json.dumps(record).encode()


def outcome(splitter: LineSplitter, pieces: Sequence[bytes]) -> list[bytes] | None:
    """The lines; None if one was refused."""
    try:
        return [line for piece in pieces for line in splitter.feed(piece)]
    except WireError:
        return None


# Bytes to lines.


@given(PIECES)
def test_any_split_gives_the_lines_of_the_whole(pieces: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    *whole, rest = b"".join(pieces).split(b"\n")
    assert lines == whole
    assert splitter.rest == rest


def test_a_line_comes_out_with_the_bytes_that_end_it() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"on") == []
    assert splitter.feed(b"e\ntwo\nthr") == [b"one", b"two"]
    assert splitter.rest == b"thr"


def test_a_line_as_long_as_the_limit_is_taken() -> None:
    splitter = LineSplitter(limit_bytes=4)
    assert splitter.feed(b"1234") == []
    assert splitter.feed(b"\n1234\n") == [b"1234", b"1234"]


def test_a_line_over_the_limit_is_refused_before_it_ends() -> None:
    splitter = LineSplitter(limit_bytes=4)
    splitter.feed(b"123")
    with pytest.raises(WireError, match="more than 4 bytes"):
        splitter.feed(b"45")


@given(PIECES)
@example([b"ok\ntoo long\nok\n"])
@example([b"ok\ntoo long"])
def test_a_line_over_the_limit_is_refused_however_it_arrives(
    pieces: list[bytes],
) -> None:
    longest = max(len(line) for line in b"".join(pieces).split(b"\n"))
    lines = outcome(LineSplitter(limit_bytes=5), pieces)
    assert (lines is None) is (longest > 5)


def test_the_default_limit_lets_a_whole_answer_pass() -> None:
    splitter = LineSplitter()
    [line] = splitter.feed(b"x" * 8_000_000 + b"\n")
    assert len(line) == 8_000_000


# Lines to records.


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
def test_known_types_become_their_records(kind: type) -> None:
    assert type(wire.decode(line_of(SAMPLES[kind]))) is kind


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
def test_unknown_fields_change_nothing(kind: type) -> None:
    sample = SAMPLES[kind]
    more = {**sample, "uuid": "u", "session_id": "s", "new_field": {"deep": [1, None]}}
    assert wire.decode(line_of(more)) == wire.decode(line_of(sample))


def test_fields_are_read() -> None:
    retry = wire.decode(line_of(SAMPLES[records.ApiRetry]))
    assert retry == records.ApiRetry(
        attempt=1, retry_delay_ms=512.5, error_status=529, error="overloaded"
    )
    limit = wire.decode(line_of(SAMPLES[records.RateLimitEvent]))
    assert isinstance(limit, records.RateLimitEvent)
    assert limit.rate_limit_info.resets_at == 1700000000
    user = wire.decode(line_of(SAMPLES[UserLine]))
    assert isinstance(user, UserLine)
    assert user.is_synthetic


@pytest.mark.parametrize(
    ("line", "noise"),
    [
        (b"(node:1) Warning: something is deprecated", True),
        (b"[1, 2]", True),
        (b"null", True),
        (b"\xff\xfe", True),
        (b"a {brace}", True),
        (b"", False),
        (b"  \r", False),
        (b'{"type":"keep_alive"}', False),
        (b'  {"type":"keep_alive"}', False),
        # A record would be lost.
        (b'{"type":"result","subtyp', False),
        (b"{", False),
        (b'a warning{"type":"result"}', False),
        (b'a warning{"type": "result"}', False),
    ],
)
def test_what_is_no_part_of_the_protocol(line: bytes, noise: bool) -> None:
    assert wire.is_noise(line) is noise


@given(JSON)
def test_no_record_is_noise(value: object) -> None:
    assert not wire.is_noise(json.dumps({"type": value}).encode())
    assert not wire.is_noise(json.dumps({"value": value}).encode())


@pytest.mark.parametrize(
    "record",
    [
        {"type": "system", "subtype": "status", "status": None},
        {"type": "system"},
        {"type": "command_lifecycle", "event": 5},
        {"type": "tool_progress"},
        {"type": "api_retry", "attempt": "not ours to read"},
        {"type": "", "message": 3},
    ],
)
def test_unknown_types_are_skipped(record: object) -> None:
    assert wire.decode(line_of(record)) is None


@pytest.mark.parametrize(
    "event",
    [
        {"type": "vendor_event", "delta": ["not", "ours"]},
        {"type": "ping", "message": 5},
        {"type": "error", "usage": "none"},
    ],
)
def test_unknown_events_of_a_stream_are_skipped_whatever_their_shape(
    event: object,
) -> None:
    assert wire.decode(line_of({"type": "stream_event", "event": event})) is None


def test_only_an_event_of_a_stream_is_skipped_for_its_type() -> None:
    result = {"type": "result", "subtype": 7, "event": {"type": "vendor_event"}}
    with pytest.raises(WireError, match="subtype"):
        wire.decode(line_of(result))


@pytest.mark.parametrize("line", [b"", b"  ", b"\r", b"\t \r"])
def test_blank_lines_are_skipped(line: bytes) -> None:
    assert wire.decode(line) is None


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b'{"type":"result","subtype":"\xff"}', "not UTF-8"),
        (b"Error: something broke", "not JSON: 'Error: something broke'"),
        (b'{"type":"result","subtype":"succ', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"type":"result","subtype":"success"} trailing', "not JSON"),
        (b"[1, 2]", "unknown shape"),
        (b'"text"', "unknown shape"),
        (b"null", "unknown shape"),
        (b'{"no": "type"}', "`type`"),
        (b'{"type": 7}', r"\$\.type"),
        (b'{"type":"result"}', "`subtype`"),
        (b'{"type":"result","subtype":"success","num_turns":"1"}', "num_turns"),
        (b'{"type":"stream_event","event":[]}', r"\$\.event"),
        (b'{"type":"stream_event"}', "`event`"),
        (b'{"type":"assistant","message":{"id":"m"}}', "`model`"),
        (
            b'{"type":"assistant","message":{"id":"1","model":"m","content":3}}',
            "content",
        ),
        (b'{"type":"system","subtype":"api_retry"}', "`attempt`"),
        (b'{"type":"control_request","request_id":"r"}', "`request`"),
        (b'{"type":"control_response","response":{}}', "`subtype`"),
    ],
)
def test_an_offence_is_named(line: bytes, named: str) -> None:
    with pytest.raises(WireError, match=named):
        wire.decode(line)


def test_a_long_offence_is_shortened_and_printable() -> None:
    with pytest.raises(WireError) as caught:
        wire.decode(b"\x1b[31m" + b"secret " * 1000)
    assert len(str(caught.value)) < 150
    assert str(caught.value).isprintable()


@given(st.binary() | JSON.map(line_of))
@example(b'{"a":"\\ud800"}')
@example(b'{"type":7')
@example(b'{"type":7,"event":{"type":"\xff"}}')
@example(b'{"type":7,"event":{"type":"\\ud800"}}')
@example(b'{"type":"stream_event","event":{"type":"new","delta":[],"type":"\xff"}}')
@example(b'{"type":"\\ud800","a":1e999}')
def test_any_bytes_are_a_record_or_nothing_or_a_wire_error(line: bytes) -> None:
    try:
        record = wire.decode(line)
    except WireError:
        return
    assert record is None or type(record) in SAMPLES


@pytest.mark.parametrize("kind", ["result", "control_response"])
def test_a_line_that_is_nested_too_deeply_is_a_wire_error(kind: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(WireError):
        wire.decode(f'{{"type":"{kind}","deep":{deep}}}'.encode())


@given(
    st.sampled_from(KNOWN_TYPES),
    st.dictionaries(
        st.sampled_from(
            ["event", "message", "subtype", "response", "request", "request_id"]
        ),
        JSON,
    ),
)
@example("stream_event", {"subtype": [inf]})
@example("result", {"subtype": [inf]})
def test_any_shape_of_a_known_type_is_a_record_or_a_wire_error(
    kind: str, fields: dict[str, Any]
) -> None:
    try:
        record = wire.decode(line_of({**fields, "type": kind}))
    except WireError:
        return
    # Events of a stream have types of their own, and new ones are skipped.
    assert type(record) in SAMPLES or (kind == "stream_event" and record is None)


@pytest.mark.parametrize(
    ("escaped", "read"),
    [
        (r"a\ud83d", "a\ufffd"),
        (r"\ude00b", "\ufffdb"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d and \ud83d\ude00", "\ufffd and 😀"),
        (r"\ud83d\ude00", "😀"),
        (r"\\ud83d", r"\ud83d"),
    ],
)
def test_half_a_surrogate_pair_becomes_a_replacement_character(
    escaped: str, read: str
) -> None:
    text = f'{{"type":"text_delta","text":"{escaped}"}}'
    event = f'{{"type":"content_block_delta","index":0,"delta":{text}}}'
    record = wire.decode(f'{{"type":"stream_event","event":{event}}}'.encode())
    assert isinstance(record, StreamLine)
    assert isinstance(record.event, BlockDeltaEvent)
    assert record.event.delta == TextPiece(read)


@given(WELL_FORMED)
def test_text_is_read_as_it_was_written(text: str) -> None:
    record = wire.decode(
        line_of(
            {
                "type": "stream_event",
                "event": {
                    "type": "content_block_delta",
                    "delta": {"type": "text_delta", "text": text},
                },
            }
        )
    )
    assert isinstance(record, StreamLine)
    assert record.event == BlockDeltaEvent(TextPiece(text))


def test_the_answer_to_initialize_is_read() -> None:
    answer = wire.decode_initialize(
        line_of(
            {
                "models": [{"value": "opus", "resolvedModel": "claude-opus-4-5"}],
                "account": {
                    "tokenSource": "none",
                    "email": "a@example.org",
                    "token": "not ours",
                },
                "claude_code_version": "2.1.330",
                "commands": [],
            }
        )
    )
    assert answer.models == [
        records.ModelInfo(value="opus", resolved_model="claude-opus-4-5")
    ]
    assert answer.account == records.Account(token_source="none", email="a@example.org")
    assert answer.claude_code_version == "2.1.330"


def test_the_response_of_a_control_record_can_be_read_as_initialize() -> None:
    line = (
        b'{"type":"control_response","response":{"subtype":"success",'
        b'"request_id":"r","response":{"claude_code_version":"2.1.300"}}}'
    )
    record = wire.decode(line)
    assert isinstance(record, records.ControlResponse)
    answer = wire.decode_initialize(record.response.response)
    assert answer.claude_code_version == "2.1.300"


@pytest.mark.parametrize("answer", [b"null", b"[]", b'{"models": 3}', b"not json", b""])
def test_another_answer_to_initialize_is_a_wire_error(answer: bytes) -> None:
    with pytest.raises(WireError, match="initialize"):
        wire.decode_initialize(answer)


# Values to lines.


def written(line: bytes) -> Any:
    """One line, as the CLI reads it."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    return json.loads(line)


@given(WELL_FORMED, WELL_FORMED)
@example("a\nb\r\nc\u2028d\x00\x85 @/etc/passwd", "uuid")
@example("/clear", "uuid")
def test_a_question_is_one_line_and_word_for_word(text: str, uuid: str) -> None:
    """And never a command of the CLI's, or a file that it would read."""
    assert written(requests.question(text, uuid)) == {
        "type": "user",
        "message": {"role": "user", "content": text},
        "parent_tool_use_id": None,
        "session_id": "",
        "uuid": uuid,
        "client_composed": True,
    }


@given(WELL_FORMED, st.dictionaries(WELL_FORMED, st.text(max_size=5) | st.integers()))
def test_a_body_is_set_as_it_is(model: str, body: dict[str, Any]) -> None:
    text = line_of(body).decode()
    request = requests.body_settings(model=model, effort="low", body=text)
    told = written(requests.control_request("r", request))["request"]["settings"]
    assert (told["model"], told["effortLevel"]) == (model, "low")
    assert told["env"]["CLAUDE_CODE_EXTRA_BODY"] == text
    # What an earlier question has set is taken back.
    assert told["env"]["CLAUDE_CODE_PROMPT_CACHE_TTL"] is None
    assert told["env"]["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == ""


def test_a_body_is_forgotten() -> None:
    told = written(requests.control_request("r", requests.without_body()))
    assert told["request"]["settings"]["env"]["CLAUDE_CODE_EXTRA_BODY"] == ""


@given(WELL_FORMED)
@example("")
def test_initialize_replaces_the_system_prompt_word_for_word(system: str) -> None:
    record = written(requests.control_request("r1", requests.initialize(system)))
    assert record == {
        "type": "control_request",
        "request_id": "r1",
        "request": {"subtype": "initialize", "systemPrompt": [system]},
    }


@given(
    WELL_FORMED,
    st.none() | st.sampled_from(["low", "max"]),
    st.none() | st.integers(min_value=1),
    st.lists(WELL_FORMED, min_size=1),
)
def test_flag_settings_are_one_line_and_round_trip(
    model: str, effort: str | None, max_tokens: int | None, stop: list[str]
) -> None:
    body: dict[str, object] = {"stop_sequences": stop, "temperature": 0.5}
    request = requests.apply_flag_settings(
        model=model, effort=effort, max_tokens=max_tokens, extra_body=body
    )
    record = written(requests.control_request("r", request))
    assert record["request"]["subtype"] == "apply_flag_settings"
    told = record["request"]["settings"]
    assert told["model"] == model
    assert told["effortLevel"] == effort
    limit = told["env"]["CLAUDE_CODE_MAX_OUTPUT_TOKENS"]
    assert limit == (None if max_tokens is None else str(max_tokens))
    assert json.loads(told["env"]["CLAUDE_CODE_EXTRA_BODY"]) == body


def test_flag_settings_that_are_not_set_are_taken_back() -> None:
    request = requests.apply_flag_settings(
        model="opus", effort=None, max_tokens=None, extra_body={}
    )
    assert written(requests.control_request("r", request))["request"]["settings"] == {
        "model": "opus",
        "effortLevel": None,
        "env": {
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": None,
            "CLAUDE_CODE_EXTRA_BODY": None,
        },
    }


@given(WELL_FORMED, WELL_FORMED)
def test_a_refusal_is_one_line_and_names_its_request(
    request_id: str, reason: str
) -> None:
    assert written(requests.refusal(request_id, reason)) == {
        "type": "control_response",
        "response": {"subtype": "error", "request_id": request_id, "error": reason},
    }
