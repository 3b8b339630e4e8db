"""Encodes an answer as one message of the Messages API. Pure.

Source: ``Message`` of anthropic-python 2.14.
"""

from collections.abc import Sequence

from msgspec import Raw

from ccproxy.api.messages.schemas import MessageMeta, message_document
from ccproxy.api.messages.stream import ThinkingFilter, ThinkingForm
from ccproxy.core.encoding import encode_json
from ccproxy.core.errors import CCProxyError
from ccproxy.core.message_builder import MessageBuilder
from ccproxy.core.stream import Event, Receiver, Usage

_PLAIN = ThinkingForm()


class MessageDocument:
    """Collects an answer that is not streamed.

    Args:
        meta: has the message's id.
        thinking: the form of the thinking in the answer.
    """

    def __init__(self, meta: MessageMeta, thinking: ThinkingForm = _PLAIN) -> None:
        self._meta = meta
        self._shown = ThinkingFilter(thinking)
        self._message = MessageBuilder()

    @property
    def is_over(self) -> bool:
        """Whether there is a whole answer, or an error."""
        return self._message.is_over

    @property
    def error(self) -> CCProxyError | None:
        """Why there will be no answer."""
        return self._message.error

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it does."""
        return self._message.model

    @property
    def usage(self) -> Usage:
        """The answer's usage, once it is over."""
        return self._message.usage if self._message.finished else Usage()

    @property
    def receivers(self) -> Sequence[Receiver]:
        """`receive`: there is one answer."""
        return (self.receive,)

    def receive(self, events: Sequence[Event]) -> None:
        """Take events."""
        self._message.receive(self._shown.filter(events))

    def encode(self) -> bytes:
        """The message; only without an error, once over."""
        message = self._message
        content = [Raw(block.raw) for block in message.blocks]
        about = (self._meta, message.model, message.usage)
        return encode_json(message_document(*about, content, message.finished))
