"""Makes the stream events of an answer's blocks, numbered for the client. Pure.

Calls of Claude Code's own tools are not sent as blocks, and held text is sent later or
not at all. So the client's blocks have other indexes than the provider's blocks.
"""

from ccproxy.core.blocks import Block
from ccproxy.core.stream import (
    AgentToolUsed,
    ContentBlockStart,
    ContentBlockStop,
    Event,
    InputJSONDelta,
    MessageStart,
    OpaqueDelta,
    Restarted,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    Usage,
)


class BlockWriter:
    """Opens and closes the blocks of an answer's messages.

    Each method returns the events to send, in order.
    """

    def __init__(self) -> None:
        self._index = -1
        self._open = ""

    def message(self, model: str, usage: Usage | None = None) -> list[Event]:
        """Begin a message."""
        closed = self.close()
        self._index = -1
        return [*closed, MessageStart(model, usage or Usage())]

    def restart(self, event: Restarted) -> list[Event]:
        """Report that the open message is void."""
        self._index, self._open = -1, ""
        return [event]

    def text(self, text: str) -> list[Event]:
        """Add text; begin a block of text if none is open."""
        opened = self._in("text", text="")
        return [*opened, TextDelta(text, self._index)]

    def thinking(self, text: str) -> list[Event]:
        """Add thinking; begin a block of thinking if none is open."""
        opened = self._in("thinking", thinking="", signature="")
        return [*opened, ThinkingDelta(text, self._index)]

    def signature(self, signature: str) -> list[Event]:
        """Add the signature of a block of thinking, and end the block."""
        opened = self._in("thinking", thinking="", signature="")
        return [*opened, SignatureDelta(signature, self._index), *self.close()]

    def opaque(self, raw: bytes) -> list[Event]:
        """Add a delta of another type to the open block, if there is one."""
        return [OpaqueDelta(raw, self._index)] if self._open else []

    def redacted_thinking(self, data: str) -> list[Event]:
        """Add a whole block of redacted thinking."""
        return [*self._begin("redacted_thinking", data=data), *self.close()]

    def call(self, identifier: str, name: str) -> list[Event]:
        """Begin a call of a client's tool."""
        return self._begin("tool_use", id=identifier, name=name, input={})

    def arguments(self, json: str) -> list[Event]:
        """Add a piece of the open call's arguments."""
        return [InputJSONDelta(json, self._index)]

    def agent_tool(self, name: str, arguments: str) -> list[Event]:
        """Report that Claude Code has used a tool of its own."""
        return [*self.close(), AgentToolUsed(name, arguments)]

    def close(self) -> list[Event]:
        """End the open block, if there is one."""
        if not self._open:
            return []
        self._open = ""
        return [ContentBlockStop(self._index)]

    def _in(self, kind: str, **fields: str) -> list[Event]:
        return [] if self._open == kind else self._begin(kind, **fields)

    def _begin(self, kind: str, **fields: object) -> list[Event]:
        closed = self.close()
        self._index += 1
        self._open = kind
        block = Block.make(kind, at="", **fields)
        return [*closed, ContentBlockStart(block, self._index)]


class HeldText:
    """Sends text, or holds it back until the kind of the answer is known.

    Args:
        blocks: makes events of the text that is sent.
        is_held: whether text is held back.
    """

    def __init__(self, blocks: BlockWriter, *, is_held: bool) -> None:
        self._blocks = blocks
        self._is_held = is_held
        self._earlier: list[str] = []
        self._message: list[str] = []
        self._first_answer: str | None = None

    def feed(self, text: str) -> list[Event]:
        """Take a piece of text."""
        if not self._is_held:
            return self._blocks.text(text)
        self._message.append(text)
        return []

    def opaque(self, raw: bytes) -> list[Event]:
        """Take a delta of another type; the delta is lost while text is held."""
        return [] if self._is_held else self._blocks.opaque(raw)

    def begin_message(self) -> None:
        """Note that a new message begins."""
        self._earlier += self._message
        self._message.clear()

    def drop_message(self) -> None:
        """Drop the text of the current message, which was lost."""
        self._message.clear()

    def set_aside(self) -> None:
        """Keep the held text for `fallback`, which then ignores later text."""
        self._first_answer = self._take()

    def flush(self) -> list[Event]:
        """Send the held text in one piece, if there is any."""
        text = self._take()
        return self._blocks.text(text) if text else []

    def fallback(self) -> list[Event]:
        """Send the text that was set aside, or else the held text."""
        text = self._take() if self._first_answer is None else self._first_answer
        return self._blocks.text(text) if text else []

    def _take(self) -> str:
        text = "".join((*self._earlier, *self._message))
        self._earlier.clear()
        self._message.clear()
        return text
