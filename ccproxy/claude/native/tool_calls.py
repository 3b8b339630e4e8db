"""What the tool calls of one message are: the client's, an answer, the CLI's own. Pure.

==================  ==========================================================
the client's        told, and its arguments as they come; it ends the turn
StructuredOutput    the answer by a schema: its input is told as text
any other           Claude Code runs it within the turn; told as a whole, if the
                    operator wants it
==================  ==========================================================
"""

from collections.abc import Collection

from ccproxy.claude.native.events import (
    AgentToolUsed,
    Event,
    MessageStarted,
    RedactedThinking,
    Restarted,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from ccproxy.claude.native.held_text import HeldText
from ccproxy.claude.native.structured_output import TOOL, StructuredAnswer
from ccproxy.claude.protocol.records import ContentBlock

_TWICE = "the model gave two answers"


class ToolCallDecoder:
    """The blocks of the message that comes, as far as they are not text.

    Args:
        tool_names: the client's tools.
        answer: the answer by a schema, if there is to be one.
        prose: what is said in front of a call.
        tells_own: whether the CLI's own calls are told.
    """

    def __init__(
        self,
        tool_names: Collection[str],
        answer: StructuredAnswer | None,
        prose: HeldText,
        *,
        tells_own: bool,
    ) -> None:
        self._tool_names = tool_names
        self._answer = answer
        self._prose = prose
        self._tells_own = tells_own
        self._model = ""
        self._is_calling = False
        self._own: tuple[str, list[str]] | None = None
        self._has_own = False
        self.has_called = False
        # In any message of the turn.
        self.has_used_own = False

    @property
    def are_clients_only(self) -> bool:
        """Whether there are calls, and the client's tools can answer all of them."""
        return self.has_called and not self._has_own

    def begin(self, model: str) -> None:
        """Note that a message begins."""
        self._model = model
        self._is_calling = self.has_called = self._has_own = False
        self._own = None

    def open(self, block: ContentBlock) -> list[Event]:
        """Begin a block."""
        events = self.close()
        if block.type == "redacted_thinking" and block.data:
            return [*events, RedactedThinking(block.data)]
        if block.type != "tool_use":
            return events
        return [*events, *self._call(block.id or "", block.name or "")]

    def _call(self, identifier: str, name: str) -> list[Event]:
        if name in self._tool_names:
            self._is_calling = self.has_called = True
            return [*self._prose.told(), ToolCallStarted(identifier, name)]
        self._has_own = True
        if self._answer is None or name != TOOL:
            self.has_used_own = True
            self._own = (name, [])
            return []
        if self._answer.open(identifier):
            return []
        # The second answer of one message is the one that counts.
        return [Restarted(_TWICE), MessageStarted(self._model)]

    def arguments(self, json: str) -> list[Event]:
        """Take a piece of the block's input."""
        if self._is_calling:
            return [ToolCallDelta(json)]
        if self._own is not None:
            self._own[1].append(json)
        elif self._answer is not None and self._answer.said(json):
            return [TextDelta(json)]
        return []

    def close(self) -> list[Event]:
        """End the block."""
        self._is_calling = False
        if self._answer is not None:
            self._answer.close()
        own, self._own = self._own, None
        if own is None or not self._tells_own:
            return []
        name, pieces = own
        return [AgentToolUsed(name, "".join(pieces))]
