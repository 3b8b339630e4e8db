"""Events in the form of server-sent events."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ccproxy.core.encoding import DONE, WireEvent, encode_json, sse_frames

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
