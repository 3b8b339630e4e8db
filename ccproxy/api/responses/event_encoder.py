"""The frames that a stream of Responses events consists of. Pure.

Source: WHATWG HTML, "Server-sent events"; Open Responses, "Streaming": ``event:``
equals ``type``, numbers count up from 0, ``[DONE]`` comes last.
"""

from collections.abc import Mapping

from ccproxy.core.encoding import encode_json

DONE = b"data: [DONE]\n\n"
# No JSON text has a NUL in it, so it marks where a delta's text goes.
_MARK = "\0"
_DATA = b"\ndata: "
_ERROR = b"event: error\n"


class EventEncoder:
    """Numbers events and encodes them.

    Args:
        first: the first number.
    """

    def __init__(self, first: int = 0) -> None:
        self._number = first
        self._delta_head = self._delta_tail = b""

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        return self._number

    def go_back(self, number: int) -> None:
        """Take back the events from that one on, which nobody has been told."""
        self._number = number

    def event(self, kind: str, **fields: object) -> bytes:
        """One event."""
        data = {"type": kind, **fields, "sequence_number": self._number}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + encode_json(data) + b"\n\n"

    def prepare(self, kind: str, fields: Mapping[str, object]) -> None:
        """Encode what all deltas of an item repeat around their texts."""
        head, _, tail = encode_json({"type": kind, "delta": _MARK, **fields}).partition(
            encode_json(_MARK)
        )
        self._delta_head = f"event: {kind}\ndata: ".encode() + head
        self._delta_tail = tail[:-1] + b',"sequence_number":'

    def delta(self, text: str) -> bytes:
        """One delta of what was prepared."""
        number = b"%d}\n\n" % self._number
        self._number += 1
        return self._delta_head + encode_json(text) + self._delta_tail + number


def skip_events(stream: bytes | bytearray, begin: int, count: int) -> tuple[int, int]:
    """Where a stream goes on after some events, and how many of them are still to come.

    Args:
        stream: whole events, from the first one on; none is missing, so they count.
        begin: where in it to begin.
        count: of events.
    """
    while count > 0:
        end = stream.find(b"\n\n", begin)
        if end < 0:
            break
        if stream.startswith(DONE, begin):
            return begin, 0
        begin = end + 2
        count -= 1
    return begin, count


def messages_of(frames: bytes) -> list[bytes]:
    """The JSON of each event, for a transport that has frames of its own."""
    found = [
        frame.partition(_DATA)[2]
        for frame in frames.split(b"\n\n")
        # Where an error is an envelope of its own, this one would end two turns.
        if not frame.startswith(_ERROR)
    ]
    # `[DONE]` has no event's name in front of it.
    return [message for message in found if message]
