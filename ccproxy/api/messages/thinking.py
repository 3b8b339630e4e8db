"""Messages API: what a client is shown of the model's thinking. Pure.

A client that did not ask for thinking is shown none: many take the first block for the
text. What is hidden is still remembered, for the next request of the conversation.
"""

from collections.abc import Iterator, Sequence

from attrs import frozen

from ccproxy.api.common.agent_tools import agent_line
from ccproxy.core.messages import RedactedThinking, Thinking, thinking_block
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    ContentBlockStop,
    Event,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)


@frozen(kw_only=True)
class ThinkingForm:
    """What a client is shown of the model's thinking.

    Attributes:
        is_shown: whether there are blocks of it.
        has_text: whether they say anything, or are only signed.
    """

    is_shown: bool = False
    has_text: bool = True


class ThinkingFilter:
    """Takes out of an answer what its client is not shown.

    Where thinking is shown, a tool that Claude Code has used by itself is a block of
    thinking, too; its index is negative.
    """

    def __init__(self, form: ThinkingForm) -> None:
        self._form = form
        self._hidden: set[int] = set()
        self._asides = 0

    def filter(self, events: Sequence[Event]) -> Iterator[Event]:
        """The events that are shown."""
        for event in events:
            match event:
                case ContentBlockStart(block, index):
                    self._hidden.discard(index)
                    if not self._form.is_shown and isinstance(
                        block.value, Thinking | RedactedThinking
                    ):
                        self._hidden.add(index)
                        continue
                case (
                    TextDelta(index=index)
                    | InputJSONDelta(index=index)
                    | SignatureDelta(index=index)
                    | OpaqueDelta(index=index)
                    | ContentBlockStop(index)
                ) if index in self._hidden:
                    continue
                case ThinkingDelta(index=index) if (
                    not self._form.has_text or index in self._hidden
                ):
                    continue
                case AgentToolUsed():
                    if self._form.is_shown:
                        yield from self._aside(event)
                    continue
                case MessageStart():
                    self._hidden.clear()
            yield event

    def _aside(self, use: AgentToolUsed) -> Iterator[Event]:
        self._asides += 1
        index = -self._asides
        # Without a signature, so that nobody gives it back as the model's own.
        yield ContentBlockStart(thinking_block("", ""), index)
        yield ThinkingDelta(agent_line(use), index)
        yield ContentBlockStop(index)
