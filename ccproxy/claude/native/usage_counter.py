"""Adds up the token usage of the messages of one turn. Pure.

``message_start`` and ``message_delta`` have the usage of one request to the API.
``result`` has the total since the last question.

Source: docs/claude-cli-protocol.md, "Output".
"""

from msgspec import Raw

from ccproxy.claude.protocol.records import WireUsage
from ccproxy.claude.protocol.stream import merged_usage
from ccproxy.core.stream import Usage


class UsageCounter:
    """Adds up the usage of the messages that the client gets.

    Args:
        is_partial: whether the CLI's own total includes messages before this turn.
    """

    def __init__(self, *, is_partial: bool) -> None:
        self._is_partial = is_partial
        self._message = Usage()
        self._earlier = Usage()

    def begin(self, usage: Raw, *, restarted: bool) -> None:
        """Begin a message.

        Args:
            usage: the ``usage`` of ``message_start``.
            restarted: whether the message replaces the current one.
        """
        if restarted:
            self.count_alone()
        else:
            self._earlier += self._message
        self._message = merged_usage(usage, Usage())

    @property
    def so_far(self) -> Usage:
        """The usage of the current message so far."""
        return self._message

    def message(self, usage: Raw) -> None:
        """Take newer counts of the current message."""
        self._message = merged_usage(usage, self._message)

    def count_alone(self) -> None:
        """Ignore the CLI's own total from now on."""
        self._is_partial = True

    def total(self, summed: WireUsage | None) -> Usage:
        """The usage of the whole turn; ``summed`` is the CLI's own total."""
        usage = self._earlier + self._message
        if summed is None or self._is_partial:
            return usage
        return summed.over(usage, usage.details)
