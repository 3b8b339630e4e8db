"""Text of the model's, where something else was asked for. Pure."""

from ccproxy.claude.native.events import Event, TextDelta


class HeldText:
    """Passes text on, or holds it back until it is known what comes of it.

    Args:
        is_held: whether it is held back.
    """

    def __init__(self, *, is_held: bool) -> None:
        self._is_held = is_held
        self._earlier: list[str] = []
        self._message: list[str] = []
        self._aside: str | None = None

    def said(self, text: str) -> list[Event]:
        """Take a piece of text; what may be told of it now."""
        if not self._is_held:
            return [TextDelta(text)]
        self._message.append(text)
        return []

    def begin(self) -> None:
        """Note that a new message begins."""
        self._earlier += self._message
        self._message.clear()

    def void(self) -> None:
        """Forget the message, because it was lost."""
        self._message.clear()

    def set_aside(self) -> None:
        """Keep what was said for the case that nothing better comes."""
        self._aside = self._take()

    def told(self) -> list[Event]:
        """What was held back, to be told now: in one piece, if it is anything."""
        text = self._take()
        return [TextDelta(text)] if text else []

    def instead(self) -> list[Event]:
        """What is told where nothing better came: the first that was said."""
        text = self._take() if self._aside is None else self._aside
        return [TextDelta(text)] if text else []

    def _take(self) -> str:
        text = "".join((*self._earlier, *self._message))
        self._earlier.clear()
        self._message.clear()
        return text
