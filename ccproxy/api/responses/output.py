"""The items of an answer in Responses: messages, reasoning, web searches. Pure.

Calls are in `ccproxy.api.responses.tool_calls`.

Source: ``OutputMessage`` and ``ReasoningItem`` of OpenAI; ``Message`` and
``ReasoningBody`` of Open Responses.
"""

from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class OutputPart:
    """A kind of item with one text, and the names of its events.

    Attributes:
        index: the events' name of the part's position in its item.
        extra: other fields of its deltas.
    """

    prefix: str
    index: str
    events: str
    part: str
    extra: dict[str, Any]

    @property
    def delta(self) -> str:
        """The event for a piece of the text."""
        return f"response.{self.events}.delta"

    @property
    def text_done(self) -> str:
        """The event for the whole text."""
        return f"response.{self.events}.done"

    @property
    def added(self) -> str:
        """The event that begins the part."""
        return f"response.{self.part}.added"

    @property
    def done(self) -> str:
        """The event that ends the part."""
        return f"response.{self.part}.done"

    def content(self, text: str) -> dict[str, Any]:
        """The item's only part."""
        if self.prefix == MESSAGE.prefix:
            kind = {"type": "output_text", "text": text}
            return {**kind, "annotations": [], "logprobs": []}
        return {"type": "summary_text", "text": text}

    def item(
        self, identifier: str, status: str, content: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The item, with or without its part."""
        parts = [] if content is None else [content]
        about = {"id": identifier, "status": status}
        if self.prefix == MESSAGE.prefix:
            return {"type": "message", **about, "role": "assistant", "content": parts}
        return {"type": "reasoning", **about, "summary": parts}


MESSAGE = OutputPart(
    prefix="msg",
    index="content_index",
    events="output_text",
    part="content_part",
    extra={"logprobs": []},
)
REASONING = OutputPart(
    prefix="rs",
    index="summary_index",
    events="reasoning_summary_text",
    part="reasoning_summary_part",
    extra={},
)


def search_item(identifier: str, query: str) -> dict[str, Any]:
    """A web search that the model made by itself."""
    return {
        "type": "web_search_call",
        "id": identifier,
        "status": "completed",
        "action": {"type": "search", "query": query},
    }


def without_encrypted_content(item: dict[str, Any]) -> dict[str, Any]:
    """The item for clients that have not asked for encrypted content."""
    if item["type"] != "reasoning" or "encrypted_content" not in item:
        return item
    return {name: value for name, value in item.items() if name != "encrypted_content"}
