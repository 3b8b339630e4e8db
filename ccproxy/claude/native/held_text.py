"""Text of the model that may have to be held back. Pure."""

from ccproxy.claude.native.block_writer import BlockWriter
from ccproxy.core.stream import Event


class HeldText:
    """Sends text, or holds it back until it is known what the answer becomes.

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

    def begin_message(self) -> None:
        """Note that a new message begins."""
        self._earlier += self._message
        self._message.clear()

    def drop_message(self) -> None:
        """Drop the text of the current message, which was lost."""
        self._message.clear()

    def set_aside(self) -> None:
        """Keep the text for `fallback`."""
        self._first_answer = self._take()

    def flush(self) -> list[Event]:
        """Send the held text in one piece, if there is any."""
        text = self._take()
        return self._blocks.text(text) if text else []

    def fallback(self) -> list[Event]:
        """Send the text that was set aside, else the held text."""
        text = self._take() if self._first_answer is None else self._first_answer
        return self._blocks.text(text) if text else []

    def _take(self) -> str:
        text = "".join((*self._earlier, *self._message))
        self._earlier.clear()
        self._message.clear()
        return text
