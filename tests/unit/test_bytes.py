"""Random bytes and mutated requests, from the CLI and from clients.

``CCPROXY_FUZZ=20000`` tries more than the suite has time for.
"""

import copy
import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ccproxy.api.chat.request import decode_chat
from ccproxy.api.chat.response import ChatDocument, CompletionMeta
from ccproxy.api.chat.stream import ChatStream
from ccproxy.api.conversations.request import (
    decode_conversation,
    decode_metadata,
    decode_new_items,
)
from ccproxy.claude.protocol import codec as wire
from ccproxy.claude.protocol.codec import LineSplitter, Record, WireError
from ccproxy.claude.worker.turn_decoder import TurnDecoder
from ccproxy.core.encoding import sse_frames
from ccproxy.core.errors import CCProxyError, ClaudeFailed, ClientError
from ccproxy.core.messages import MessagesRequest
from ccproxy.core.stream import Event, Failed, Finished
from tests.support.composed import BETAS, HAIKU_4_5, OPUS, SONNET_5, composed, upstream
from tests.support.invariant import End, outcome_of
from tests.support.mutations import CHAT, ODD, RESPONSES, places
from tests.support.provider_rules import violations
from tests.unit.api.responses.samples import asked

TRIES = int(os.environ.get("CCPROXY_FUZZ", "100"))
HEADING = CompletionMeta(id="chatcmpl-1", created=1_700_000_000)
CONVERSATION = {"items": RESPONSES["input"], "metadata": {"a": "b"}}

# What the CLI writes, as far as any of it is read; ids and indexes repeat.


def event(kind: str, **fields: Any) -> dict[str, Any]:
    inner = {"type": kind, **fields}
    return {"type": "stream_event", "event": inner, "parent_tool_use_id": None}


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


BLOCKS = [
    block("text", text="one "),
    block("thinking", thinking="hm", signature="c2ln"),
    block("redacted_thinking", data="ZGF0YQ=="),
    block("tool_use", id="toolu_1", name="look", input={}),
    block("tool_use", id="toolu_2", name="no tool", input={"a": "b"}),
    block("server_tool_use", id="srv_1", name="web_search", input={}),
    block("tool_result", tool_use_id="toolu_2", is_error=True),
]
DELTAS = [
    {"type": "text_delta", "text": "two "},
    {"type": "thinking_delta", "thinking": "hm"},
    {"type": "signature_delta", "signature": "c2ln"},
    {"type": "input_json_delta", "partial_json": '{"a":'},
    {"type": "input_json_delta", "partial_json": '"b"}'},
]
REASONS = ["end_turn", "max_tokens", "tool_use", "refusal", "pause_turn", None]
USAGE = {"input_tokens": 3, "output_tokens": 2}


def messages(content: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {"id": name, "model": model, "content": content, "stop_reason": reason}
        for name, model in (("msg_1", "m"), ("msg_2", "m"), ("x", "<synthetic>"))
        for reason in (None, "end_turn")
    ]


LINES: list[dict[str, Any]] = [
    {"type": "system", "subtype": "init", "tools": ["look"]},
    *(event("message_start", message=m) for m in messages([])),
    *(event("content_block_start", index=0, content_block=b) for b in BLOCKS),
    *(event("content_block_delta", index=0, delta=d) for d in DELTAS),
    event("content_block_stop", index=0),
    *(event("message_delta", delta={"stop_reason": r}, usage=USAGE) for r in REASONS),
    event("message_stop"),
    *({"type": "assistant", "message": m} for b in BLOCKS for m in messages([b])),
    {"type": "user", "message": {"role": "user", "content": BLOCKS[-1:]}},
    {"type": "user", "isSynthetic": True, "message": {"content": "go on"}},
    *(
        {"type": "result", "subtype": subtype, "is_error": bad, "result": "one"}
        for subtype in ("success", "error_during_execution")
        for bad in (False, True)
    ),
    {"type": "system", "subtype": "api_retry", "attempt": 1, "retry_delay_ms": 5.5},
    {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected"}},
]


@st.composite
def broken(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with a few of them changed, left out, added or said twice."""
    made = bytearray(data)
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        at = draw(st.integers(0, len(made)))
        until = draw(st.integers(at, min(len(made), at + 20)))
        other = draw(st.binary(max_size=4) | st.just(bytes(made[at:until]) * 2))
        made[at:until] = other
    return bytes(made)


@st.composite
def outputs(draw: st.DrawFn) -> bytes:
    """What a CLI that is out of its mind might write."""
    lines = draw(st.lists(st.sampled_from(LINES), max_size=25))
    whole = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return draw(broken(whole)) if draw(st.booleans()) else whole


def records_of(data: bytes, cuts: Sequence[int]) -> list[Record]:
    """Read in pieces, up to what cannot be read."""
    splitter, found = LineSplitter(limit_bytes=2000), []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for start, end in itertools.pairwise(edges):
            for line in splitter.feed(data[start:end]):
                record = wire.decode(line)
                if record is not None:
                    found.append(record)
    except WireError:
        pass
    return found


@settings(max_examples=TRIES)
@given(outputs(), st.lists(st.integers(0, 10_000), max_size=5))
def test_any_output_of_a_cli_has_one_end(data: bytes, cuts: list[int]) -> None:
    turn = TurnDecoder(1.7e9)
    stream, document = (
        ChatStream(HEADING, 1, include_usage=False),
        ChatDocument(HEADING, 1),
    )
    sent: list[bytes] = []

    def tell(events: Sequence[Event]) -> None:
        ends = [e for e in events if isinstance(e, Finished | Failed)]
        assert not ends or (ends == [events[-1]] and turn.is_over)
        document.receivers[0](events)
        sent.append(sse_frames(stream.encoders[0](events)))

    for record in records_of(data, cuts):
        was_over = turn.is_over
        events = turn.receive(record)
        assert not (was_over and events)
        if events:
            tell(events)
    if not turn.is_over:
        # What the session says when the process has ended.
        sent.append(sse_frames(stream.encoders[0]([Failed(ClaudeFailed("it ended"))])))
    if not stream.is_over:
        return
    outcome = outcome_of(200, b"".join(sent).decode(), stream=True)
    if outcome.end is not End.ERROR and document.error is None:
        whole = outcome_of(200, document.encode().decode(), stream=False)
        assert (whole.text, whole.end) == (outcome.text, outcome.end)


# What clients send

MODELS = st.sampled_from([OPUS, SONNET_5, HAIKU_4_5])


@st.composite
def bodies(draw: st.DrawFn, valid: dict[str, Any]) -> bytes:
    """A valid body with odd values in it, or odd bytes."""
    made = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(0, 3))):
        found = places(made)
        if not found:
            break
        node, key = draw(st.sampled_from(found))
        if draw(st.booleans()):
            del node[key]
        else:
            odd = draw(st.sampled_from([*ODD, node[key], [node[key]]]))
            # Or what is changed next would be changed elsewhere too.
            node[key] = copy.deepcopy(odd)
    data = json.dumps(made).encode()
    return draw(broken(data)) if draw(st.booleans()) else data


def is_refused_or(decode: Any, body: Any) -> Any:
    """What a body is decoded to; None: it was refused as the client's fault."""
    try:
        return decode(body)
    except ClientError as error:
        assert error.message
        assert error.message.isprintable() or "\n" in error.message
        return None
    except CCProxyError as error:
        raise AssertionError(error) from error


# Not known here: whether a signature is its provider's, and whether the schema of a
# tool keeps the rules of the draft that it names. The provider's 400 says so.
UNKNOWN_RULES = (24, 25, 31)


def is_sound(request: MessagesRequest, model_id: str) -> None:
    """The provider takes what goes up; or it is the client's fault, and named."""
    composition = is_refused_or(lambda r: composed(r, model_id), request)
    if composition is not None:
        found = violations(upstream(composition.body, model_id), betas=BETAS)
        assert [v for v in found if v.rule not in UNKNOWN_RULES] == []


@settings(max_examples=TRIES)
@given(bodies(CHAT), MODELS)
def test_any_chat_request_is_asked_or_the_clients_fault(
    body: bytes, model_id: str
) -> None:
    call = is_refused_or(decode_chat, body)
    if call is not None:
        is_sound(call.request, model_id)


@settings(max_examples=TRIES)
@given(bodies(RESPONSES), MODELS)
def test_any_responses_request_is_asked_or_the_clients_fault(
    body: bytes, model_id: str
) -> None:
    request = is_refused_or(asked, body)
    if request is not None:
        is_sound(request, model_id)


@settings(max_examples=TRIES)
@given(bodies(CONVERSATION))
def test_any_conversation_is_one_or_the_clients_fault(body: bytes) -> None:
    for decode in (decode_conversation, decode_metadata, decode_new_items):
        is_refused_or(decode, body)
