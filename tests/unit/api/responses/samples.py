"""Requests and answers for the tests of the Responses API."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.input.assembly import (
    AssembledRequest,
    context_of,
    request_of,
)
from ccproxy.api.responses.input.request import decode_responses
from ccproxy.api.responses.output.stream import ResponseStream
from ccproxy.core.encoding import WireEvent
from ccproxy.core.messages import Message, MessagesRequest
from ccproxy.core.stream import (
    Event,
    Finished,
    InputJSONDelta,
    MessageStart,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
    Usage,
)
from tests.support.events import call_start, redacted_start

USAGE = Usage(
    input_tokens=3,
    cache_read_tokens=2,
    cache_write_tokens=1,
    output_tokens=7,
    thinking_tokens=4,
)


FINISHED = Finished("end_turn", USAGE)
START = MessageStart("claude-test-1")


def request(**fields: Any) -> bytes:
    return json.dumps({"input": "hello", **fields}).encode()


SEAL = Encryptor(new_key())


def assembled(body: bytes, **options: Any) -> AssembledRequest:
    """The whole of a request that refers to nothing."""
    call = decode_responses(body, **options)
    return request_of(call, context_of(call, (), {}), SEAL)


def asked(body: bytes, **options: Any) -> MessagesRequest:
    """The question to the model of a request that refers to nothing."""
    return assembled(body, **options).request


def plain(messages: Sequence[Message]) -> list[tuple[str, Any]]:
    """Messages as their roles and their contents in JSON."""
    return [
        (
            message.role,
            message.content
            if isinstance(message.content, str)
            else [json.loads(block.raw) for block in message.content],
        )
        for message in messages
    ]


def text_of(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def whole(encoder: ResponseStream, *events: Event) -> list[WireEvent]:
    """Everything that events come to, the end included."""
    return [*encoder.encode(events), *encoder.conclude()]


def parse(wire: Sequence[WireEvent]) -> list[dict[str, Any]]:
    """The events of a whole stream; their form is checked on the way."""
    parsed = [json.loads(event.data) for event in wire]
    assert [event.name for event in wire] == [event["type"] for event in parsed]
    assert all(len(event.data.decode().splitlines()) == 1 for event in wire)
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    return parsed


ITEM = {"role": "user", "content": "x"}


def sealed(prefix: str = "", **fields: Any) -> ResponseStream:
    echo = decode_responses(request(**fields)).echo
    return ResponseStream("abc", echo, lambda: 1.0, SEAL, prefix=prefix)


text = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from("\0\u2028\u2029\x85\n😀"),
    min_size=1,
    max_size=12,
)


inner = st.one_of(
    text.map(lambda name: call_start(f"id {name}", name)),
    text.map(InputJSONDelta),
    text.map(TextDelta),
    text.map(ThinkingDelta),
    text.map(SignatureDelta),
    text.map(redacted_start),
    st.just(UpstreamRetry("overloaded", 1, 0.5)),
    st.just(START),
)
