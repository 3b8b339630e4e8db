"""Encodes the events of a response's stream, each with its number. Pure.

Source: Open Responses, "Streaming": ``event:`` equals ``type``, ``sequence_number``
counts up from 0. So an event's number is its index in the list of all events.
"""

from collections.abc import Mapping

from ccproxy.core.encoding import TEXT, WireEvent, encode_json, halves_around_text


class EventEncoder:
    """Numbers events and encodes them.

    Args:
        first: the first number.
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
        """Reuse the numbers from ``number`` on.

        The events with these numbers were not sent.
        """
        self._number = number

    def event(self, kind: str, **fields: object) -> WireEvent:
        """Encode an event with the next number."""
        data = {"type": kind, **fields, "sequence_number": self._number}
        self._number += 1
        return WireEvent(kind, encode_json(data))

    def prepare(self, kind: str, fields: Mapping[str, object]) -> None:
        """Encode the parts around the text, which all deltas of an item share."""
        head, tail = halves_around_text({"type": kind, "delta": TEXT, **fields})
        self._delta_kind = kind
        self._delta_head = head
        self._delta_tail = tail[:-1] + b',"sequence_number":'

    def delta(self, text: str) -> WireEvent:
        """Encode a delta of the prepared item."""
        number = b"%d}" % self._number
        self._number += 1
        data = self._delta_head + encode_json(text) + self._delta_tail + number
        return WireEvent(self._delta_kind, data)
