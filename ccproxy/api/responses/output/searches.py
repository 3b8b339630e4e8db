"""Encodes the calls of the provider's web tools as items. Pure.

====================  =======================================================
the provider's tool   ``action`` of the ``web_search_call``
====================  =======================================================
``web_search``        ``search``, with the query; with the pages that were
                      found if the client's ``include`` asks for pages
``web_fetch``         ``open_page``, with the address
====================  =======================================================

An item is completed before the next item is added. If the model makes several calls
before the first result, the items of the later calls wait.

Source: ``WebSearchToolCall`` and ``ResponseWebSearchCall…Event`` in OpenAI's document.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from ccproxy.api.common.server_calls import (
    ServerCall,
    ServerResult,
    server_call,
    server_result,
)
from ccproxy.api.responses.output.resource import EventEncoder
from ccproxy.core.blocks import Block
from ccproxy.core.encoding import WireEvent

PREFIX = "ws"
_SEARCH, _FETCH = "web_search", "web_fetch"


class Searches:
    """The calls of one answer.

    Args:
        encoder: numbers and encodes the events.
        shows_sources: whether the items have the pages that were found.
    """

    def __init__(self, encoder: EventEncoder, *, shows_sources: bool) -> None:
        self._encoder = encoder
        self._shows_sources = shows_sources
        self._calls: deque[ServerCall] = deque()
        self._by_index: dict[int, ServerCall] = {}
        self._results: dict[str, ServerResult] = {}

    @property
    def current(self) -> ServerCall | None:
        """The first call whose item is not done."""
        return self._calls[0] if self._calls else None

    def begin(self, block: Block, index: int) -> bool:
        """Take the beginning of a block; return whether it calls a web tool."""
        call = server_call(block)
        if call is None or call.name not in (_SEARCH, _FETCH):
            return False
        self._calls.append(call)
        self._by_index[index] = call
        return True

    def feed(self, arguments: str, index: int) -> None:
        """Take a piece of the arguments of any block."""
        if index in self._by_index:
            self._by_index[index].feed(arguments)

    def end(self, index: int) -> bool:
        """Take the end of a block; return whether it is the current call."""
        call = self._by_index.pop(index, None)
        return call is not None and call is self.current

    def take_result(self, block: Block) -> None:
        """Take the result in a block, if it has one."""
        result = server_result(block)
        if result is not None:
            self._results[result.id] = result

    @property
    def has_result(self) -> bool:
        """Whether the current call has its result."""
        return self.current is not None and self.current.id in self._results

    def opened(self, place: Mapping[str, Any]) -> list[WireEvent]:
        """Encode the beginning of the current call.

        Args:
            place: the id and the index of the call's item.
        """
        action: dict[str, Any] = {"type": "search", "query": ""}
        if self._calls[0].name == _FETCH:
            action = {"type": "open_page", "url": None}
        item = _item(place["item_id"], "in_progress", action)
        added = {"output_index": place["output_index"], "item": item}
        wire = [
            self._encoder.event("response.output_item.added", **added),
            self._encoder.event("response.web_search_call.in_progress", **place),
        ]
        is_whole = all(call is not self.current for call in self._by_index.values())
        return [*wire, self.searching(place)] if is_whole else wire

    def searching(self, place: Mapping[str, Any]) -> WireEvent:
        """Encode that the arguments of the current call are complete."""
        return self._encoder.event("response.web_search_call.searching", **place)

    def closed(
        self, place: Mapping[str, Any]
    ) -> tuple[list[WireEvent], dict[str, Any]]:
        """Encode the end of the current call; the next call becomes the current one.

        Returns:
            The events before the item is done, and the item.
        """
        call = self._calls.popleft()
        result = self._results.pop(call.id, None)
        action: dict[str, Any] = {"type": "open_page", "url": call.text("url") or None}
        if call.name == _SEARCH:
            query = call.text("query")
            action = {"type": "search", "query": query, "queries": [query]}
            if self._shows_sources and result is not None:
                sources = [{"type": "url", "url": url} for url in result.urls]
                action["sources"] = sources
        if result is not None and not result.error:
            kind = "response.web_search_call.completed"
            item = _item(place["item_id"], "completed", action)
            return [self._encoder.event(kind, **place)], item
        item = _item(place["item_id"], "failed", action)
        if result is not None:
            item["error"] = {"code": result.error}
        return [], item


def _item(identifier: str, status: str, action: dict[str, Any]) -> dict[str, Any]:
    about = {"type": "web_search_call", "id": identifier, "status": status}
    return {**about, "action": action}
