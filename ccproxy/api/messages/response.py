"""Encodes an answer as one message of the Messages API. Pure.

Source: ``Message`` of anthropic-python 2.14.
"""

from collections.abc import Sequence

from msgspec import Raw

from ccproxy.api.messages.schemas import MessageMeta, message_document
from ccproxy.api.messages.stream import ThinkingFilter, ThinkingForm
from ccproxy.core.encoding import encode_json
from ccproxy.core.message_builder import AnswerCollector
from ccproxy.core.stream import Event

_PLAIN = ThinkingForm()


class MessageDocument(AnswerCollector):
    """Collects an answer that is not streamed.

    Args:
        meta: the ids of the answer.
        thinking: which parts of the thinking the client receives.
    """

    def __init__(self, meta: MessageMeta, thinking: ThinkingForm = _PLAIN) -> None:
        super().__init__()
        self._meta = meta
        self._shown = ThinkingFilter(thinking)
        self.receivers = [self.receive]

    def receive(self, events: Sequence[Event]) -> None:
        """Collect events of the answer."""
        self.messages[0].receive(self._shown.filter(events))

    def encode(self) -> bytes:
        """Encode the message. The answer must have ended without error."""
        [message] = self.messages
        content = [Raw(block.raw) for block in message.blocks]
        about = (self._meta, message.model, message.usage)
        return encode_json(
            message_document(*about, content, message.finished, message.fields)
        )
