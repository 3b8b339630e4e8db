"""Encodes the citations of a message as annotations. Pure.

Source: ``UrlCitationBody`` in OpenAI's document; ``Annotation`` and
``ResponseOutputTextAnnotationAddedStreamingEvent`` in the Open Responses document.
"""

from collections.abc import Mapping
from typing import Any

from ccproxy.api.common.citations import CitedText
from ccproxy.api.responses.output.resource import EventEncoder
from ccproxy.core.encoding import WireEvent


class Annotations(CitedText):
    """The annotations of the open message.

    Args:
        encoder: numbers and encodes the events.
    """

    def __init__(self, encoder: EventEncoder) -> None:
        super().__init__()
        self._encoder = encoder
        self._found: list[dict[str, Any]] = []

    def events(self, place: Mapping[str, Any]) -> list[WireEvent]:
        """Encode the citations of the block that has just ended.

        Args:
            place: the id and the index of the message's item.
        """
        wire: list[WireEvent] = []
        for citation in self.end_block():
            annotation = {"type": "url_citation", **citation.fields}
            about = {"content_index": 0, "annotation_index": len(self._found)}
            self._found.append(annotation)
            kind = "response.output_text.annotation.added"
            wire.append(
                self._encoder.event(kind, **place, **about, annotation=annotation)
            )
        return wire

    def end_message(self) -> list[dict[str, Any]]:
        """Return the annotations of the message, which is complete, and forget them."""
        found, self._found = self._found, []
        self.begin_message()
        return found
