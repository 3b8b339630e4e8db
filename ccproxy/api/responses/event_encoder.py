"""Encodes the numbered events of a response's stream. Pure.

An event's number (``sequence_number``) is its index in the list of all events.

Source: Open Responses, "Streaming": ``event:`` equals ``type``, and
``sequence_number`` counts up from 0.
"""

from collections.abc import Mapping

from ccproxy.core.encoding import TEXT, WireEvent, encode_json, halves_around_text


class EventEncoder:
    """Numbers and encodes events.

    Args:
        first: the number of the first event.
    """

    def __init__(self, first: int = 0) -> None:
        self._number = first
        self._delta_kind = ""
        self._delta_head = self._delta_tail = b""

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        return self._number

    def go_back(self, number: int) -> None:
        """Continue with an earlier number, because later events were not sent."""
        self._number = number

    def event(self, kind: str, **fields: object) -> WireEvent:
        """Encode an event with the next number."""
        data = {"type": kind, **fields, "sequence_number": self._number}
        self._number += 1
        return WireEvent(kind, encode_json(data))

    def prepare(self, kind: str, fields: Mapping[str, object]) -> None:
        """Prepare `delta`: encode the JSON around the text of an item's deltas."""
        head, tail = halves_around_text({"type": kind, "delta": TEXT, **fields})
        self._delta_kind = kind
        self._delta_head = head
        self._delta_tail = tail[:-1] + b',"sequence_number":'

    def delta(self, text: str) -> WireEvent:
        """Encode a delta event of the prepared item."""
        number = b"%d}" % self._number
        self._number += 1
        data = self._delta_head + encode_json(text) + self._delta_tail + number
        return WireEvent(self._delta_kind, data)
