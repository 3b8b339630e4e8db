"""Records of the CLI for the tests of a native turn."""

from collections.abc import Iterable, Sequence

import msgspec
from hypothesis import strategies as st
from msgspec import Raw

from ccproxy.claude.native.turn_decoder import NativeTurnDecoder
from ccproxy.claude.protocol.codec import Record
from ccproxy.claude.protocol.records import (
    ApiRetry,
    RateLimitEvent,
    RateLimitInfo,
    Result,
    WireUsage,
)
from ccproxy.claude.protocol.stream import (
    AssistantBody,
    AssistantLine,
    BlockDeltaEvent,
    BlockStartEvent,
    BlockStopEvent,
    MessageDeltaEvent,
    MessageHead,
    MessageStartEvent,
    MessageStopEvent,
    OpaqueDeltaEvent,
    StopPart,
    StreamLine,
    TextPiece,
    ThinkingPiece,
    UserLine,
)
from ccproxy.core import errors
from ccproxy.core.stream import (
    ContentBlockStart,
    ContentBlockStop,
    Event,
    Failed,
    Finished,
    MessageStart,
    Restarted,
    TextDelta,
)

NOW = 1_700_000_000.0


MODEL = "claude-sonnet-4-5"


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def start(identifier: str = "msg_1", usage: WireUsage | None = None) -> Record:
    head = MessageHead(id=identifier, model=MODEL, usage=raw(usage))
    return StreamLine(MessageStartEvent(raw(head)))


def text(text: str, parent: str | None = None) -> Record:
    return StreamLine(BlockDeltaEvent(TextPiece(text)), parent)


def thinking(text: str) -> Record:
    return StreamLine(BlockDeltaEvent(ThinkingPiece(text)))


def stopped(reason: str | None, usage: WireUsage | None = None) -> Record:
    return StreamLine(MessageDeltaEvent(raw(StopPart(reason)), raw(usage)))


OPENED = StreamLine(BlockStartEvent(raw({"type": "text", "text": ""})))


CLOSED = StreamLine(BlockStopEvent())


STOP = StreamLine(MessageStopEvent())


# So the CLI closes an answer whose upstream is gone.
CUT = (CLOSED, STOP)


# Written by the CLI itself when it does not ask for the whole answer again.
NUDGE = UserLine(is_synthetic=True)


def whole(
    *texts: str,
    identifier: str = "msg_9",
    stop_reason: str | None = None,
    usage: WireUsage | None = None,
    parent: str | None = None,
) -> Record:
    blocks = [raw({"type": "text", "text": text}) for text in texts]
    body = AssistantBody(identifier, MODEL, blocks, stop_reason, usage=raw(usage))
    return AssistantLine(body, parent)


def synthetic(said: str, error: str) -> Record:
    blocks = [raw({"type": "text", "text": said})]
    return AssistantLine(AssistantBody("x", "<synthetic>", blocks), error=error)


def retry(
    attempt: int = 1, status: int | None = 529, error: str = "overloaded"
) -> Record:
    return ApiRetry(
        attempt=attempt, retry_delay_ms=1500.0, error_status=status, error=error
    )


def rate_limit(status: str, resets_at: float | None, kind: str | None = None) -> Record:
    return RateLimitEvent(
        RateLimitInfo(status=status, resets_at=resets_at, rate_limit_type=kind)
    )


SUCCESS = Result(subtype="success", num_turns=1, stop_reason="end_turn")


def receive(turn: NativeTurnDecoder, *records: Record) -> list[Event]:
    """The events but for the bounds of blocks, which `test_block_writer` looks at."""
    events = [event for record in records for event in turn.receive(record)]
    return [
        e for e in events if not isinstance(e, ContentBlockStart | ContentBlockStop)
    ]


def told(*records: Record) -> list[Event]:
    return receive(NativeTurnDecoder(NOW), *records)


def finish(events: Sequence[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def failure(events: Sequence[Event]) -> errors.CCProxyError:
    assert isinstance(events[-1], Failed)
    return events[-1].error


def answer(events: Iterable[Event]) -> str:
    """The text that a client has who heeds every restart."""
    before, current = "", ""
    for event in events:
        match event:
            case MessageStart():
                before, current = before + current, ""
            case Restarted():
                current = ""
            case TextDelta(piece):
                current += piece
    return before + current


IDENTIFIERS = st.sampled_from(["msg_1", "msg_2", "msg_3"])


REASONS = st.sampled_from(
    [None, "end_turn", "tool_use", "max_tokens", "refusal", "pause_turn"]
)


STATUSES = st.sampled_from([None, 400, 401, 429, 500, 529])


RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(start, IDENTIFIERS),
    st.builds(text, st.text(max_size=3)),
    st.builds(thinking, st.text(max_size=3)),
    st.builds(stopped, REASONS),
    st.sampled_from(
        [
            STOP,
            OPENED,
            CLOSED,
            StreamLine(OpaqueDeltaEvent(raw({"type": "a delta of a later API"}))),
            text("aside", parent="toolu_1"),
            UserLine(),
            NUDGE,
            rate_limit("rejected", NOW + 60),
            rate_limit("allowed", None),
        ]
    ),
    st.builds(whole, st.text(max_size=3), identifier=IDENTIFIERS, stop_reason=REASONS),
    st.builds(retry, st.integers(1, 10), STATUSES),
    st.builds(synthetic, st.text(), st.sampled_from(["rate_limit", "server_error"])),
    st.builds(
        Result,
        subtype=st.sampled_from(["success", "error_during_execution"]),
        is_error=st.booleans(),
        api_error_status=STATUSES,
    ),
)
