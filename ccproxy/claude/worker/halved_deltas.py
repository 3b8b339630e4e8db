"""Joins the halves of surrogate pairs that are in two deltas of an answer. Pure.

Source: docs/claude-cli-protocol.md, "Output".
"""

import msgspec

from ccproxy.claude.protocol.stream import BlockDeltaEvent, HalvedDeltaEvent

_FIRST_OF_ALL, _LAST_OF_ALL = "\ud800", "\udbff"


class HalvedDeltas:
    """The deltas of one message.

    Attributes:
        last: the delta whose first half waits for its second; None: no half waits.
    """

    def __init__(self) -> None:
        self._half = ""
        self.last: BlockDeltaEvent | None = None

    def join(self, event: BlockDeltaEvent) -> list[BlockDeltaEvent]:
        """The delta, with the waiting half at its start; a half at its end waits.

        A half whose other half does not follow becomes U+FFFD, in a delta of its own if
        the next delta is of another kind.
        """
        last = self.last
        if last is not None and type(last.delta) is not type(event.delta):
            return [*self.rest(), *self.join(event)]
        if isinstance(event, HalvedDeltaEvent):
            text = event.text
        else:
            [text] = msgspec.structs.astuple(event.delta)
        text = self._half + text
        waits = _FIRST_OF_ALL <= text[-1:] <= _LAST_OF_ALL
        text, self._half = (text[:-1], text[-1]) if waits else (text, "")
        sound = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        joined = BlockDeltaEvent(type(event.delta)(sound), event.index)
        self.last = joined if waits else None
        return [joined]

    def rest(self) -> list[BlockDeltaEvent]:
        """A delta with U+FFFD, if a half waits: its second did not come."""
        last, self.last, self._half = self.last, None, ""
        if last is None:
            return []
        return [BlockDeltaEvent(type(last.delta)("\ufffd"), last.index)]
