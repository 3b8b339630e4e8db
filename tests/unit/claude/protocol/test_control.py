"""Long lines are written in pieces."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.claude.protocol import codec, requests
from ccproxy.claude.protocol.control import LineWriter, in_pieces


@given(st.text(max_size=50), st.integers(0, 40_000))
def test_pieces_are_the_line(text: str, times: int) -> None:
    whole = text * times
    pieces = [*in_pieces(lambda text: requests.question(text, "id"), whole.encode())]
    assert b"".join(pieces) == requests.question(whole, "id")
    assert max(map(len, pieces)) < 2_000_000


def test_a_line_waits_for_the_one_that_is_under_way() -> None:
    clock, written = Clock(), list[bytes]()
    writer = LineWriter(written.append, clock)
    text = '"ä' * 400_000
    pieces = in_pieces(lambda text: codec.encode({"a": text}), text.encode())
    done = Deferred.fromCoroutine(writer.send_pieces(pieces))
    writer.send(b"second\n")
    while not done.called:
        clock.advance(0)
        writer.send(b"")
    writer.send(b"third\n")
    lines = b"".join(written).splitlines()
    assert json.loads(lines[0]) == {"a": text}
    assert lines[1:] == [b"second", b"third"]
    assert len(written) > 5
