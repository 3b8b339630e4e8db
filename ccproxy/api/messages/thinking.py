"""Removes thinking from answers whose client has not asked for it. Pure.

Many such clients take the first block for the text. The proxy still remembers the
removed thinking, for the next request of the conversation.
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
    """The form of the thinking in an answer.

    Attributes:
        is_shown: whether the answer has blocks of thinking.
        has_text: whether these have a text, or only a signature.
    """

    is_shown: bool = False
    has_text: bool = True


class ThinkingFilter:
    """Removes thinking from events.

    If thinking is shown, a tool that Claude Code has run by itself becomes a block of
    thinking with a negative index.
    """

    def __init__(self, form: ThinkingForm) -> None:
        self._form = form
        self._hidden: set[int] = set()
        self._asides = 0

    def filter(self, events: Sequence[Event]) -> Iterator[Event]:
        """The events for the client."""
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
        # It has no signature, so it never goes back to the model.
        yield ContentBlockStart(thinking_block("", ""), index)
        yield ThinkingDelta(agent_line(use), index)
        yield ContentBlockStop(index)
