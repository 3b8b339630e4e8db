"""Events in the form of server-sent events."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.core.encoding import (
    DONE,
    WireEvent,
    encode_json,
    has_halves,
    sse_frames,
    without_halves,
)

NAMES = st.sampled_from(["", "ping", "response.created"])
TEXTS = st.text(st.sampled_from("a\n\r\u2028\u2029\x85\x1c\0:"), max_size=9)


def read(stream: str) -> list[tuple[str, str]]:
    """The name and the data of each event, by the rules of the standard."""
    found = []
    for frame in stream.split("\n\n")[:-1]:
        fields = [line.partition(": ") for line in frame.split("\n")]
        names = [value for field, _, value in fields if field == "event"]
        data = [value for field, _, value in fields if field == "data"]
        assert len(fields) == len(names) + len(data)
        found.append(("".join(names), "\n".join(data)))
    return found


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=4))
def test_each_event_is_read_as_it_was_made(given: list[tuple[str, str]]) -> None:
    events = [WireEvent(name, encode_json({"a": text})) for name, text in given]
    told = read(sse_frames([*events, DONE]).decode())
    assert told.pop() == ("", "[DONE]")
    assert [(name, json.loads(data)["a"]) for name, data in told] == given


def test_no_events_are_no_bytes() -> None:
    assert sse_frames([]) == b""


HALF, PAIR, WHOLE = rb"\ud83d", rb"\ud83d\ude00", rb"\n"


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536, 65_537, 131_072])
@pytest.mark.parametrize("filler", [WHOLE, HALF])
def test_pairs_stay_whole_after_any_number_of_escapes(
    count: int, filler: bytes
) -> None:
    mended = without_halves(b'"' + filler * count + PAIR + HALF + b'x"')
    kept = WHOLE if filler == WHOLE else rb"\ufffd"
    assert mended == b'"' + kept * count + PAIR + rb"\ufffdx" + b'"'


@given(st.lists(st.sampled_from([HALF, rb"\uDE00", WHOLE, rb"\\", b"ud83d", b"\xc3"])))
def test_lone_surrogates_are_what_python_finds(pieces: list[bytes]) -> None:
    text = b'"' + b"".join(pieces).replace(b"\xc3", "é".encode()) + b'"'
    read = json.loads(text)
    expected = re.sub("[\ud800-\udfff]", "\ufffd", read)
    assert json.loads(without_halves(text)) == expected
    assert has_halves(text) == (read != expected)
