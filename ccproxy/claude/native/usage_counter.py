"""What the messages of one turn cost. Pure.

Source: docs/claude-cli-protocol.md, "Output": ``message_start`` and
``message_delta`` count one call of the API, ``result`` sums all calls since the CLI was
last asked.
"""

from msgspec import Raw

from ccproxy.claude.protocol.records import WireUsage
from ccproxy.claude.protocol.stream import merged_counts
from ccproxy.core.stream import Usage


class UsageCounter:
    """The sum over the messages that are the client's.

    Args:
        is_partial: the CLI's own sum counts more than this turn.
    """

    def __init__(self, *, is_partial: bool) -> None:
        self._is_partial = is_partial
        self._message = Usage()
        self._earlier = Usage()

    def begin(self, usage: Raw, *, restarted: bool) -> None:
        """Count a new message, in the place of one whose answer is void or not."""
        if restarted:
            self.count_alone()
        else:
            self._earlier += self._message
        self._message = merged_counts(usage, Usage())

    @property
    def so_far(self) -> Usage:
        """The message that is under way, as far as it has told."""
        return self._message

    def message(self, usage: Raw) -> None:
        """Take what the message says of itself now."""
        self._message = merged_counts(usage, self._message)

    def count_alone(self) -> None:
        """Do without the CLI's own sum from now on."""
        self._is_partial = True

    def total(self, summed: WireUsage | None) -> Usage:
        """The whole turn; ``summed`` is what the CLI makes of it."""
        usage = self._earlier + self._message
        if summed is None or self._is_partial:
            return usage
        return summed.over(usage)
