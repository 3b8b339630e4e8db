"""Usage and cost of a native turn."""

from ccproxy.claude.native.turn_decoder import NativeTurnDecoder
from ccproxy.claude.protocol.records import (
    OutputDetails,
    Result,
    WireUsage,
)
from ccproxy.claude.protocol.stream import (
    MessageDeltaEvent,
    MessageStartEvent,
    StopPart,
    StreamLine,
)
from ccproxy.core.stream import (
    FinishReason,
    MessageStart,
    Usage,
)
from tests.unit.claude.native.turn_records import (
    CUT,
    MODEL,
    STOP,
    finish,
    raw,
    receive,
    start,
    stopped,
    text,
    told,
    whole,
)


def tokens(
    read: int, written: int, *, cached: int | None = None, stored: int | None = None
) -> WireUsage:
    return WireUsage(
        input_tokens=read,
        output_tokens=written,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=stored,
    )


def test_usage_is_what_the_result_says() -> None:
    result = Result(subtype="success", usage=tokens(9, 20, cached=3, stored=4))
    events = told(start(usage=tokens(9, 1)), stopped("end_turn"), result)
    assert finish(events).usage == Usage(
        input_tokens=9, output_tokens=20, cache_read_tokens=3, cache_write_tokens=4
    )


def test_a_message_tells_its_input_when_it_begins() -> None:
    first, *_ = told(start(usage=tokens(9, 1, cached=3, stored=4)))
    assert first == MessageStart(
        MODEL,
        Usage(
            input_tokens=9, output_tokens=1, cache_read_tokens=3, cache_write_tokens=4
        ),
    )


def test_the_sequence_that_it_stopped_at() -> None:
    stop = StreamLine(MessageDeltaEvent(raw(StopPart("stop_sequence", "X"))))
    events = told(start(), stop, Result(subtype="success"))
    assert finish(events).stop_sequence == "X"
    assert finish(events).stop_reason == "stop_sequence"
    assert finish(events).reason is FinishReason.STOP


def test_a_refusal_ends_with_the_apis_word() -> None:
    end = finish(told(start(), stopped("refusal")))
    assert end.stop_reason == "refusal"
    assert end.stop_sequence is None


def test_the_cost_is_what_the_sum_has_grown_by() -> None:
    result = Result(subtype="success", total_cost_usd=0.75)
    turn = NativeTurnDecoder(0.0, spent_usd=0.5)
    events = receive(turn, start(), stopped("end_turn"), result)
    assert finish(events).cost_usd == 0.25
    assert finish(told(start(), stopped("end_turn"), result)).cost_usd == 0.75


def test_a_cost_that_is_not_told_is_not_known() -> None:
    result = Result(subtype="success")
    assert finish(told(start(), stopped("end_turn"), result)).cost_usd is None
    assert finish(told(start(), stopped("max_tokens"))).cost_usd is None


def test_without_a_result_usage_is_the_messages_last_word() -> None:
    events = told(
        start(usage=tokens(9, 1, cached=3, stored=4)),
        stopped("max_tokens", WireUsage(output_tokens=50)),
    )
    assert finish(events).usage == Usage(
        input_tokens=9, output_tokens=50, cache_read_tokens=3, cache_write_tokens=4
    )


def test_thinking_is_counted() -> None:
    details = OutputDetails(thinking_tokens=30)
    usage = WireUsage(output_tokens=50, output_tokens_details=details)
    events = told(start(usage=tokens(9, 1)), stopped("max_tokens", usage))
    assert finish(events).usage == Usage(
        input_tokens=9, output_tokens=50, thinking_tokens=30
    )


def test_a_count_of_zero_is_a_count() -> None:
    events = told(
        start(usage=tokens(9, 7)), stopped("refusal", WireUsage(output_tokens=0))
    )
    assert finish(events).usage == Usage(input_tokens=9)


def test_the_messages_of_one_turn_are_summed() -> None:
    events = told(
        start("msg_1", tokens(10, 1, cached=5)),
        stopped("tool_use", WireUsage(output_tokens=20)),
        STOP,
        start("msg_2", tokens(30, 1, cached=7)),
        stopped("tool_use", WireUsage(output_tokens=40)),
        STOP,
        start("msg_3", tokens(100, 1)),
        stopped("max_tokens", WireUsage(output_tokens=300)),
    )
    assert finish(events).usage == Usage(
        input_tokens=140, output_tokens=360, cache_read_tokens=12
    )


def test_a_voided_call_is_not_counted() -> None:
    both = Result(subtype="success", usage=tokens(20, 60))
    events = told(
        start("msg_1", tokens(10, 1)),
        text("half"),
        *CUT,
        start("msg_2", tokens(10, 1)),
        text("whole"),
        stopped("end_turn", WireUsage(output_tokens=30)),
        both,
    )
    assert finish(events).usage == Usage(input_tokens=10, output_tokens=30)


def test_a_call_before_the_voided_one_is_counted() -> None:
    events = told(
        start("msg_1", tokens(10, 1)),
        stopped("tool_use", WireUsage(output_tokens=20)),
        start("msg_2", tokens(100, 1)),
        text("half"),
        *CUT,
        whole("whole", identifier="msg_3", usage=tokens(100, 40)),
        Result(subtype="success", usage=tokens(210, 61)),
    )
    assert finish(events).usage == Usage(input_tokens=110, output_tokens=60)


def test_details_of_the_usage_are_summed() -> None:
    first = {"input_tokens": 1, "server_tool_use": {"web_search_requests": 1}}
    second = {"input_tokens": 2, "server_tool_use": {"web_search_requests": 2}}
    opening = [
        StreamLine(MessageStartEvent(raw({"id": f"m{n}", "model": MODEL, "usage": u})))
        for n, u in enumerate((first, second))
    ]
    end = stopped("end_turn")
    result = Result(subtype="success", usage=tokens(3, 0))
    usage = finish(told(opening[0], stopped("tool_use"), opening[1], end, result)).usage
    assert usage == Usage(input_tokens=3)
    assert usage.details["server_tool_use"] == raw({"web_search_requests": 3})
